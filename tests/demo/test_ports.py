"""Taken ports are stepped over, and it is said."""

from __future__ import annotations

import socket

from controller.demo.ports import PortPicker


def test_a_taken_port_is_stepped_over_and_said() -> None:
    picker = PortPicker()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        got = picker.pick(wanted, "the dashboard")
    assert got > wanted
    assert picker.moved == [f"port {wanted} is taken, so the dashboard is on {got}"]


def test_a_port_is_given_once_until_it_is_released() -> None:
    picker = PortPicker()
    first = picker.pick(20_400, "a")
    second = picker.pick(first, "b")
    assert second != first
    picker.release(first)
    assert picker.pick(first, "c") == first
    assert not [said for said in picker.moved if "b" in said]
