"""The address of what runs on an instance."""

from __future__ import annotations

from controller.aws.groups import Instance


def address_of(template: str, one: Instance) -> str:
    """``template`` with what is known of ``one`` filled in; "" while something of it is not known."""
    known = {
        "{private_ip}": one.private_ip,
        "{private_dns}": one.private_dns,
        "{public_ip}": one.public_ip,
        "{instance_id}": one.id,
    }
    made = template
    for name, value in known.items():
        if name in made and not value:
            return ""
        made = made.replace(name, value)
    return made
