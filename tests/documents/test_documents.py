"""YAML with positions."""

import pytest
from pydantic import BaseModel, ConfigDict

from controller.documents import load_yaml, nearest, parse_yaml, validate
from controller.errors import ConfigError
from controller.quantities import DurationS, EditorSchema


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int
    wait: DurationS = 1.0


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: dict[str, Inner] = {}
    many: list[Inner] = []
    either: Inner | str | None = None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "f.yaml:1:1: is empty"),
        ("- 1\n", "f.yaml:1:1: expected keys and values at the top"),
        ("a: [1\nb: 2\n", "f.yaml:2:2: is not YAML"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "f.yaml:4:3: b.c: the key stands twice, first in line 3"),
        ("a: !!python/object:os.x y\n", "f.yaml:1:4: a: cannot be understood"),
        ("a: !!int no\n", "f.yaml:1:4: a: cannot be understood"),
        ("a: &x [*x]\n", "f.yaml:1:4: a[0]: contains itself"),
        ("a: *nothing\n", "f.yaml:1:4: is not YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: is not YAML"),
        ("a: 1\n? [b, c]\n: 2\n", "f.yaml:2:3: a key must be plain text"),
        ("a: ü\nü: \x01\n", "f.yaml:2:4: is not YAML: the control character #x0001"),
        (f"a: {'[' * 3000}{']' * 3000}", "f.yaml: is nested too deeply"),
    ],
)
def test_a_text_that_cannot_be_read_says_where(text, told):
    try:
        (problem,) = parse_yaml(text, "f.yaml").problems
    except ConfigError as error:
        (problem,) = error.problems
    assert str(problem).startswith(told)


def test_what_cannot_be_read_hides_no_mistake_and_is_told_once():
    made, problems = validate(Outer, parse_yaml("name: !!int no\nnam: x\ninner: {one: {size: a}}\n", "f.yaml"))
    assert made is None
    assert [problem.key for problem in problems] == ["name", "inner.one.size", "nam"]


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        load_yaml(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_yaml(tmp_path / "latin.yaml")


def test_data_are_plain_and_every_place_has_its_line_and_column():
    document = parse_yaml("a:\n  b: [1, two]\n  'c': \"x y\"\n", "f.yaml")
    assert document.data == {"a": {"b": [1, "two"], "c": "x y"}}
    assert document.position(("a", "b")) == (2, 3)
    assert document.position(("a", "b", 1)) == (2, 10)
    assert document.position(("a", "nothing", 3)) == (1, 1)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: hello\n", (1, 6)),
        ("a: 'hello'\n", (1, 7)),
        ("a: |\n  hello\n", (2, 5)),
    ],
)
def test_a_mistake_inside_a_text_is_found_in_the_file(text, place):
    problem = parse_yaml(text, "f.yaml").problem_inside(("a",), 1, 3, "wrong")
    assert (problem.line, problem.column) == place


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nam: x\nname: y\n", ["f.yaml:1:1: nam: unknown key 'nam'; did you mean 'name'?"]),
        ("name: 1\n", ["f.yaml:1:1: name: expected text, found 1"]),
        ("name: x\ninner: {one: {}}\n", ["f.yaml:2:9: inner.one: the key 'size' is missing"]),
        ("name: x\ninner:\n  one: {size: 1, wat: 2s}\n", ["f.yaml:3:18: inner.one.wat: unknown key 'wat'; did you"]),
        (
            "name: x\nmany:\n  - {size: 1}\n  - {size: a}\n",
            ["f.yaml:4:6: many[1].size: expected a whole number, found 'a'"],
        ),
        ("name: x\nmany: [{size: 1, wait: 5}]\n", ["f.yaml:2:18: many[0].wait: expected a duration with its unit"]),
        ("name: x\neither: {size: a}\n", ["f.yaml:2:10: either.size: expected a whole number, found 'a'"]),
        ("name: x\neither: {}\n", ["f.yaml:2:1: either: the key 'size' is missing"]),
        ("name: x\neither: 3\n", ["f.yaml:2:1: either: expected keys and values or text, found 3"]),
        ("name: x\ninner:\n", ["f.yaml:2:1: inner: expected keys and values, found nothing"]),
        ("many: 3\n", ["f.yaml:1:1: the key 'name' is missing", "f.yaml:1:1: many: expected a list, found 3"]),
    ],
)
def test_a_wrong_shape_is_told_with_its_place_and_the_nearest_key(text, told):
    made, problems = validate(Outer, parse_yaml(text, "f.yaml"))
    assert made is None
    found = sorted(str(problem) for problem in problems)
    assert [one[: len(want)] for one, want in zip(found, sorted(told), strict=True)] == sorted(told)


def test_a_right_shape_is_made():
    made, problems = validate(Outer, parse_yaml("name: x\ninner: {one: {size: 3, wait: 2m}}\n", "f.yaml"))
    assert problems == []
    assert made is not None
    assert made.inner["one"].wait == 120


def test_what_an_editor_fills_in_is_what_the_file_takes():
    class Waits(BaseModel):
        short: DurationS = 0.5
        none: DurationS = 0.0
        long: DurationS = 7_776_000.0
        size: int = 3

    class Holder(BaseModel):
        waits: Waits = Waits()

    schema = Holder.model_json_schema(schema_generator=EditorSchema)
    assert "default" not in schema["properties"]["waits"]
    filled = {key: value["default"] for key, value in schema["$defs"]["Waits"]["properties"].items()}
    assert filled == {"short": "500ms", "none": "0s", "long": "90d", "size": 3}
    assert Waits.model_validate(filled) == Waits()


def test_the_nearest_is_named_or_else_the_few_there_are():
    assert nearest("chta", ["chat", "code"]) == "; did you mean 'chat'?"
    assert nearest("zzz", ["chat", "code"]) == "; expected one of chat, code"
    assert nearest("zzz", [str(number) for number in range(50)]) == ""
