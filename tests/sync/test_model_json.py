"""model.json: what is read from it, and the exact place of what is wrong."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sync import model_json
from sync.errors import ModelError
from sync.model_json import (
    Attribute,
    Dialect,
    Entity,
    FilePartition,
    Model,
    checking,
    parse_model,
)

DATA = Path(__file__).parents[1] / "data"
PATH = re.compile(r"(entities(\[\d+\](\.[A-Za-z$:]+(\[\d+\](\.[A-Za-z$:]+)*)?)?)?)?")
# The machine may be busy: time is no measure here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
# JSON whose keys are those that the parser looks for.
model_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "entities",
                    "attributes",
                    "name",
                    "dataType",
                    "partitions",
                    "location",
                    "$type",
                    "annotations",
                    "value",
                ]
            ),
            inner,
        )
    ),
    max_leaves=25,
)


def attribute(name: str = "Id", data_type: str = "guid") -> dict[str, Any]:
    return {"name": name, "dataType": data_type}


def entity(name: str = "account", **changes: Any) -> dict[str, Any]:
    attributes = [attribute(), attribute("name", "string")]
    return {"$type": "LocalEntity", "name": name, "attributes": attributes} | changes


def model(*entities: Any, **keys: Any) -> dict[str, Any]:
    return {"name": "cdm", "version": "1.0", "entities": list(entities)} | keys


def parse(document: object) -> Model:
    return parse_model(json.dumps(document).encode())


def refusal(document: object) -> ModelError:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(ModelError) as caught:
        parse_model(data)
    return caught.value


def names(found: Model) -> list[str]:
    return [entity.name for entity in found.entities]


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items: Any = enumerate(value) if isinstance(value, list) else ()
    for key, child in value.items() if isinstance(value, dict) else items:
        yield from nodes(child, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    result = copy.deepcopy(document)
    parent = result
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return result


def removed(document: Any, path: tuple[Any, ...]) -> Any:
    result = copy.deepcopy(document)
    parent = result
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return result


class TestSamples:
    def test_a_real_export_has_its_entities_in_order(self) -> None:
        found = parse_model((DATA / "fno_model.json").read_bytes())

        assert names(found) == [
            item["name"]
            for item in json.loads((DATA / "fno_model.json").read_bytes())["entities"]
        ]
        assert found.warnings == ()

    def test_a_real_export_has_its_attributes_in_the_order_of_the_cells(self) -> None:
        data = (DATA / "fno_model.json").read_bytes()
        found = parse_model(data)

        for item, entity in zip(
            json.loads(data)["entities"], found.entities, strict=True
        ):
            assert [(a.name, a.data_type) for a in entity.attributes] == [
                (a["name"], a["dataType"]) for a in item["attributes"]
            ]

    def test_the_time_of_the_initial_sync_is_kept_as_it_is_written(self) -> None:
        found = parse_model((DATA / "fno_model.json").read_bytes())

        assert found.entities[0].initial_sync_completed == "1/1/2020 0:00:00 PM"

    def test_a_model_of_another_tool_of_the_dialect_is_read(self) -> None:
        data = (DATA / "orders_products_model.json").read_bytes()

        found = parse_model(data)

        assert names(found) == [item["name"] for item in json.loads(data)["entities"]]

    def test_the_locations_of_files_are_kept(self) -> None:
        found = parse_model((DATA / "orders_products_model.json").read_bytes())

        assert any(part.location for e in found.entities for part in e.partitions)

    def test_a_real_malformed_model_is_refused(self) -> None:
        assert refusal((DATA / "malformed_model_json.json").read_bytes()).permanent

    def test_the_dialect_of_the_first_utility_is_read_with_its_keys_as_text(
        self,
    ) -> None:
        found = parse_model((DATA / "dvsyncutil_model.json").read_bytes())

        assert found.dialect is Dialect.LOGICAL
        assert found.warnings == ()
        assert {entity.name: entity.key for entity in found.entities} == {
            "account": ("accountid",),
            "contact": ("contactid",),
        }
        account, contact = found.entities
        assert account.attributes[0] == Attribute("accountid", "string")
        assert account.attributes[-1] == Attribute("createdon", "datetime")
        assert contact.attributes[-1] == Attribute("accountid", "string")


class TestWhatIsRead:
    def test_a_small_model_becomes_dataclasses(self) -> None:
        found = parse(
            model(
                entity(
                    partitions=[{"name": "2026", "location": "https://x/2026.csv"}],
                    annotations=[
                        {"name": "Athena:InitialSyncDataCompletedTime", "value": "now"}
                    ],
                )
            )
        )

        assert found == Model(
            (
                Entity(
                    "account",
                    (Attribute("Id", "guid"), Attribute("name", "string")),
                    (FilePartition("2026", "https://x/2026.csv"),),
                    "now",
                ),
            )
        )

    def test_a_byte_order_mark_is_dropped(self) -> None:
        data = json.dumps(model(entity())).encode("utf-8-sig")

        assert names(parse_model(data)) == ["account"]

    def test_white_space_around_the_document_is_dropped(self) -> None:
        data = b"\r\n \t" + json.dumps(model(entity()), indent=4).encode() + b"\n\n "

        assert names(parse_model(data)) == ["account"]

    def test_no_entities_are_a_model_without_tables(self) -> None:
        assert parse(model()).entities == ()

    def test_an_entity_without_partitions_has_none(self) -> None:
        assert parse(model(entity())).entities[0].partitions == ()

    def test_an_entity_without_annotations_has_no_time_of_the_initial_sync(
        self,
    ) -> None:
        assert parse(model(entity())).entities[0].initial_sync_completed == ""

    def test_only_what_is_needed_needs_to_be_there(self) -> None:
        bare = {"entities": [{"name": "a", "attributes": [attribute()]}]}

        assert names(parse(bare)) == ["a"]

    def test_a_name_beyond_ascii_is_kept(self) -> None:
        assert names(parse(model(entity("größe_😀")))) == ["größe_😀"]

    def test_an_escaped_name_is_decoded(self) -> None:
        data = json.dumps(model(entity("größe"))).encode("ascii")

        assert names(parse_model(data)) == ["größe"]

    @pytest.mark.parametrize(
        "unknown", [None, 1, "x", [], {}, [{"a": [None]}], {"name": 7}]
    )
    def test_unknown_keys_are_ignored_whatever_they_hold(self, unknown: object) -> None:
        extra: dict[str, Any] = {
            "pbi:mashup": unknown,
            "cdm:imports": unknown,
            "culture": unknown,
        }
        wide = entity(**extra, attributes=[attribute() | extra])

        found = parse(model(wide, **extra))

        assert found == parse(model(entity(attributes=[attribute()])))

    @pytest.mark.parametrize("length", [-1, 0, 50, None, "128"])
    def test_the_declared_length_has_no_effect(self, length: object) -> None:
        item = attribute("a", "string") | {"maxLength": length}

        assert parse(model(entity(attributes=[item]))).warnings == ()

    @pytest.mark.parametrize("data_type", sorted(model_json.DATA_TYPES))
    def test_a_known_type_gives_no_warning(self, data_type: str) -> None:
        found = parse(model(entity(attributes=[attribute("a", data_type)])))

        assert found.warnings == ()
        assert found.entities[0].attributes[0].data_type == data_type

    @pytest.mark.parametrize(
        "data_type",
        [
            "guid",
            "string",
            "int64",
            "decimal",
            "double",
            "boolean",
            "dateTime",
            "dateTimeOffset",
            "date",
            "time",
            "json",
            "unclassified",
            "int32",
            "int16",
            "byte",
            "binary",
            "char",
            "float",
            "integer",
            "long",
            "short",
            "timestamp",
        ],
    )
    def test_every_type_that_was_seen_is_known(self, data_type: str) -> None:
        found = parse(model(entity(attributes=[attribute("a", data_type)])))

        assert found.warnings == ()

    def test_an_unknown_type_is_kept_with_a_warning_that_names_it(self) -> None:
        found = parse(model(entity(attributes=[attribute("shape", "geometry")])))

        assert found.entities[0].attributes == (Attribute("shape", "geometry"),)
        (warning,) = found.warnings
        assert "geometry" in warning
        assert "shape" in warning
        assert "account" in warning

    def test_a_reference_entity_is_left_out_with_a_warning_that_names_it(self) -> None:
        reference = {
            "$type": "ReferenceEntity",
            "name": "elsewhere",
            "source": "x",
            "modelId": "y",
        }

        found = parse(model(reference, entity()))

        assert names(found) == ["account"]
        (warning,) = found.warnings
        assert "elsewhere" in warning

    def test_an_entity_is_found_by_its_exact_name_only(self) -> None:
        found = parse(model(entity("account")))

        assert found.entity("account") is found.entities[0]
        assert found.entity("Account") is None

    def test_the_same_model_indented_or_not_is_equal(self) -> None:
        document = model(entity(), entity("contact"))

        assert parse(document) == parse_model(json.dumps(document, indent=2).encode())

    def test_a_parsed_model_cannot_be_changed(self) -> None:
        found = parse(model(entity()))

        with pytest.raises(AttributeError):
            found.entities[0].name = "other"  # type: ignore[misc]


class TestPosition:
    def test_an_attribute_is_found_in_another_case(self) -> None:
        found = Entity("a", (Attribute("Id", "guid"), Attribute("isdelete", "boolean")))

        assert found.position("IsDelete") == 1

    def test_the_exact_spelling_is_preferred(self) -> None:
        found = Entity("a", (Attribute("id", "guid"), Attribute("Id", "guid")))

        assert found.position("Id") == 1

    def test_an_absent_attribute_has_no_position(self) -> None:
        assert Entity("a", (Attribute("Id", "guid"),)).position("versionnumber") is None

    def test_a_longer_name_is_another_attribute(self) -> None:
        assert Entity("a", (Attribute("Id_", "guid"),)).position("Id") is None


class TestRefusedBytes:
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"", id="0 bytes"),
            pytest.param(b"\xef\xbb\xbf", id="a BOM alone"),
            pytest.param(b" \r\n", id="white space"),
            pytest.param(b"\0" * 100, id="zeros"),
            pytest.param(b"\xff\xfe{\0}\0", id="UTF-16"),
            pytest.param(b'{"entities": [], "x": "\xe9"}', id="Latin-1"),
            pytest.param(b'{"entities": []} {}', id="a second document"),
            pytest.param(b"{'entities': []}", id="single quotes"),
            pytest.param(b'{"entities": [],}', id="a trailing comma"),
            pytest.param(b'// model\n{"entities": []}', id="a comment"),
            pytest.param(b"<html>404</html>", id="an error page"),
            pytest.param(b'{"entities": [], "x": NaN}', id="NaN"),
            pytest.param(b'{"entities": [], "x": Infinity}', id="Infinity"),
            pytest.param(b'{"entities": [], "x": [-Infinity]}', id="-Infinity"),
            pytest.param(b'{"entities": [], "entities": []}', id="a key twice"),
            pytest.param(b'{"entities": [], "x": {"a": 1, "a": 1}}', id="twice below"),
        ],
    )
    def test_what_is_no_json_is_refused(self, data: bytes) -> None:
        error = refusal(data)

        assert error.code == "model_malformed"
        assert error.permanent
        assert str(error).strip()

    @pytest.mark.fault("F54", injected="a model cut anywhere", outcome="refused")
    def test_a_model_is_refused_wherever_it_is_cut(self) -> None:
        data = json.dumps(model(entity())).encode()

        for length in range(len(data)):
            refusal(data[:length])

    def test_a_cut_model_is_refused_with_the_place_of_the_cut(self) -> None:
        data = json.dumps(model(entity(), entity("b")), indent=1).encode()[:-40]

        error = refusal(data)

        assert re.search(r"line \d+", str(error))

    @pytest.mark.fault(
        "F54", injected="a key that is there twice", outcome="refused by name"
    )
    def test_a_key_that_is_there_twice_is_named(self) -> None:
        data = b'{"entities": [{"name": "a", "dataType": "x", "dataType": "y"}]}'

        assert "dataType" in str(refusal(data))

    @pytest.mark.fault(
        "F54", injected="an integer of thousands of digits", outcome="refused"
    )
    @pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1" * 100_000])
    def test_an_integer_of_thousands_of_digits_is_refused(self, number: str) -> None:
        refusal(b'{"entities": [], "x": %s}' % number.encode())

    @pytest.mark.fault("F54", injected="deep nesting", outcome="refused")
    @pytest.mark.parametrize(
        ("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")]
    )
    @pytest.mark.parametrize("closed", [True, False])
    def test_deep_nesting_is_refused(
        self, opening: str, closing: str, closed: bool
    ) -> None:
        inner = opening * 200_000 + ("1" + closing * 200_000 if closed else "")

        refusal(f'{{"entities": [], "x": {inner}'.encode() + b"}" * closed)

    def test_nesting_as_in_real_models_is_accepted(self) -> None:
        traits = {"a": [{"b": [{"c": [{"d": [{"e": [1]}]}]}]}]}

        assert names(parse(model(entity(), x=traits))) == ["account"]

    @pytest.mark.fault(
        "F54", injected="a document over the size limit", outcome="refused"
    )
    def test_a_document_over_the_size_limit_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = json.dumps(model(entity())).encode()
        monkeypatch.setattr(checking, "MAX_BYTES", len(data) - 1)

        refusal(data)

    def test_a_document_of_the_size_limit_is_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = json.dumps(model(entity())).encode()
        monkeypatch.setattr(checking, "MAX_BYTES", len(data))

        assert names(parse_model(data)) == ["account"]

    def test_too_many_entities_are_refused(self) -> None:
        count = model_json.MAX_ENTITIES + 1
        document = model(*({"name": f"e{n}", "attributes": []} for n in range(count)))

        assert refusal(document).where.startswith("entities")

    def test_too_many_attributes_are_refused(self) -> None:
        count = model_json.MAX_ATTRIBUTES + 1
        wide = entity(attributes=[attribute(f"a{n}") for n in range(count)])

        assert refusal(model(wide)).where.startswith("entities[0].attributes")

    def test_a_table_of_1600_attributes_is_read(self) -> None:
        wide = entity(attributes=[attribute(f"a{n}") for n in range(1600)])

        assert len(parse(model(wide)).entities[0].attributes) == 1600


# Values that are no text.
NO_TEXT: list[Any] = [None, True, 7, 7.5, [], ["x"], {}, {"name": "x"}]
NO_LIST: list[Any] = [True, False, 0, 7, 7.5, "", "x", {}, {"0": {}}]
NO_OBJECT: list[Any] = [None, True, 7, 7.5, "x", [], [{}]]


class TestRefusedPlaces:
    @pytest.mark.parametrize("document", [None, True, 7, "x", [], [model(entity())]])
    def test_a_document_must_be_an_object(self, document: object) -> None:
        refusal(document)

    def test_entities_must_be_there(self) -> None:
        assert refusal({"name": "cdm"}).where == "entities"

    @pytest.mark.parametrize("value", [None, *NO_LIST])
    def test_entities_must_be_a_list(self, value: object) -> None:
        assert refusal(model() | {"entities": value}).where == "entities"

    @pytest.mark.parametrize("value", NO_OBJECT)
    def test_an_entity_must_be_an_object(self, value: object) -> None:
        assert refusal(model(entity(), value)).where == "entities[1]"

    @pytest.mark.parametrize("value", [*NO_TEXT, ""])
    def test_an_entity_must_have_a_name(self, value: object) -> None:
        broken = entity() | {"name": value}

        assert refusal(model(broken)).where == "entities[0].name"

    def test_a_missing_name_has_the_path_of_the_name(self) -> None:
        broken = removed(model(entity(), entity("b")), ("entities", 1, "name"))

        assert refusal(broken).where == "entities[1].name"

    @pytest.mark.parametrize("value", [None, *NO_LIST])
    def test_attributes_must_be_a_list(self, value: object) -> None:
        broken = entity(attributes=value)

        assert refusal(model(broken)).where == "entities[0].attributes"

    def test_attributes_must_be_there(self) -> None:
        broken = removed(model(entity()), ("entities", 0, "attributes"))

        assert refusal(broken).where == "entities[0].attributes"

    @pytest.mark.parametrize("value", NO_OBJECT)
    def test_an_attribute_must_be_an_object(self, value: object) -> None:
        broken = entity(attributes=[attribute(), value])

        assert refusal(model(broken)).where == "entities[0].attributes[1]"

    @pytest.mark.parametrize("value", [*NO_TEXT, ""])
    def test_an_attribute_must_have_a_name(self, value: object) -> None:
        broken = entity(attributes=[attribute(), attribute() | {"name": value}])

        assert refusal(model(broken)).where == "entities[0].attributes[1].name"

    @pytest.mark.parametrize("value", NO_TEXT)
    def test_a_data_type_must_be_text(self, value: object) -> None:
        attributes = [attribute(f"a{n}") for n in range(9)]
        attributes[7]["dataType"] = value
        document = model(
            entity("a"), entity("b"), entity("c"), entity("d", attributes=attributes)
        )

        assert refusal(document).where == "entities[3].attributes[7].dataType"

    def test_a_data_type_must_be_there(self) -> None:
        broken = entity(attributes=[{"name": "Id"}])

        assert refusal(model(broken)).where == "entities[0].attributes[0].dataType"

    @pytest.mark.parametrize("value", NO_LIST)
    def test_partitions_must_be_a_list(self, value: object) -> None:
        broken = entity(partitions=value)

        assert refusal(model(broken)).where == "entities[0].partitions"

    @pytest.mark.parametrize("value", NO_OBJECT)
    def test_a_partition_must_be_an_object(self, value: object) -> None:
        broken = entity(partitions=[{"name": "2026", "location": "x"}, value])

        assert refusal(model(broken)).where == "entities[0].partitions[1]"

    @pytest.mark.parametrize("key", ["name", "location"])
    @pytest.mark.parametrize("value", NO_TEXT)
    def test_what_a_partition_holds_is_read_as_text_or_refused_with_its_path(
        self, key: str, value: object
    ) -> None:
        broken = entity(partitions=[{"name": "2026", "location": "x"} | {key: value}])

        error = refused_with(model(broken))

        if error is None:
            (partition,) = parse(model(broken)).entities[0].partitions
            assert isinstance(partition.name, str)
            assert isinstance(partition.location, str)
        else:
            assert error.where == f"entities[0].partitions[0].{key}"

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param("a\0b", id="NUL"),
            pytest.param("a\nb", id="newline"),
            pytest.param("\x1b[31m", id="terminal escape"),
            pytest.param("\ud800", id="half of a surrogate pair"),
            pytest.param("x" * 5000, id="5000 characters"),
        ],
    )
    def test_a_name_that_no_table_can_have_is_refused_with_its_path(
        self, name: str
    ) -> None:
        column = entity(attributes=[attribute(name)])

        assert refusal(model(entity(name))).where == "entities[0].name"
        assert refusal(model(column)).where == "entities[0].attributes[0].name"

    def test_the_same_entity_twice_is_refused_with_a_path(self) -> None:
        error = refusal(model(entity("a"), entity("b"), entity("a")))

        assert error.where.startswith("entities")
        assert "a" in error.message

    def test_the_same_attribute_twice_is_refused_with_the_entitys_path(self) -> None:
        broken = entity(attributes=[attribute("x"), attribute("y"), attribute("x")])

        error = refusal(model(entity("a"), broken))

        assert error.where.startswith("entities[1].attributes")

    def test_entities_that_differ_in_case_are_two_tables(self) -> None:
        assert names(parse(model(entity("Name"), entity("name")))) == ["Name", "name"]

    def test_attributes_that_differ_in_case_are_two_columns(self) -> None:
        pair = [attribute("Name"), attribute("name")]

        assert len(parse(model(entity(attributes=pair))).entities[0].attributes) == 2

    def test_a_huge_wrong_value_is_not_repeated_whole(self) -> None:
        error = refusal(model(entity(attributes="x" * 1_000_000)))

        assert len(str(error)) < 2_000

    def test_the_text_of_an_error_fits_on_one_line(self) -> None:
        error = refusal(model(entity(attributes="a\nb\x1b[31m\0")))

        assert str(error).isprintable()


class TestAnyInput:
    @pytest.mark.fault("F54", injected="any bytes", outcome="a model or a refusal")
    @unhurried
    @given(st.binary(max_size=200))
    @example(b"\xef\xbb\xbf{}")
    def test_any_bytes_parse_or_are_refused(self, data: bytes) -> None:
        with_refusals_let_through(data)

    @unhurried
    @given(json_values)
    def test_any_json_parses_or_is_refused(self, value: object) -> None:
        with_refusals_let_through(json.dumps(value).encode())

    @unhurried
    @given(model_like)
    def test_any_json_with_the_keys_of_a_model_parses_or_is_refused(
        self, value: object
    ) -> None:
        with_refusals_let_through(json.dumps({"entities": [value]}).encode())

    @unhurried
    @given(st.data())
    def test_one_damaged_byte_parses_or_is_refused(self, data: st.DataObject) -> None:
        sound = bytearray(json.dumps(VALID, ensure_ascii=False).encode())
        at = data.draw(st.integers(0, len(sound) - 1))
        sound[at] = data.draw(st.integers(0, 255))

        with_refusals_let_through(bytes(sound))

    @unhurried
    @given(st.data())
    def test_one_replaced_node_parses_or_its_place_is_named(
        self, data: st.DataObject
    ) -> None:
        path = data.draw(st.sampled_from(list(nodes(VALID))))
        value = data.draw(json_values)

        check_path(replaced(VALID, path, value), path)

    @unhurried
    @given(st.data())
    def test_one_removed_node_parses_or_its_place_is_named(
        self, data: st.DataObject
    ) -> None:
        path = data.draw(st.sampled_from([p for p in nodes(VALID) if p]))

        check_path(removed(VALID, path), path)


VALID = model(
    entity(
        annotations=[
            {"name": "Athena:PartitionGranularity", "value": "Year"},
            {"name": "Athena:InitialSyncDataCompletedTime", "value": "1/1/2026"},
        ],
        partitions=[{"name": "2026", "location": "https://x/a/2026.csv"}],
    ),
    {"$type": "ReferenceEntity", "name": "r", "source": "s", "modelId": "m"},
    entity("contact", partitions=[]),
)


def refused_with(document: Any) -> ModelError | None:
    """Return how it is refused; any other exception goes through."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    try:
        found = parse_model(data)
    except ModelError as error:
        return error
    assert all(isinstance(item, Entity) for item in found.entities)
    return None


def with_refusals_let_through(data: bytes) -> None:
    if error := refused_with(data):
        assert error.message
        assert PATH.fullmatch(error.where) or "line" in error.where


def dotted(path: tuple[Any, ...]) -> str:
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return "".join(parts).removeprefix(".")


def check_path(document: Any, path: tuple[Any, ...]) -> None:
    """Parse it, or see that the refusal names the node or one right beside it."""
    error = refused_with(document)
    if error is not None and path:
        around, node = dotted(path[:-1]), dotted(path)
        assert error.where
        assert error.where.startswith(around) or node.startswith(error.where)
