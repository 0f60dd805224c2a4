"""Tables that model.json fails to describe are read with a model of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync.errors import ModelError, SourceError
from sync.sources import folder_models
from sync.sources.base import PartitionState
from sync.sources.storage import Directory
from sync.sources.synapse_link import SynapseLink
from tests.sync.sources.places import (
    ACCOUNT,
    FIRST,
    LATER,
    ROWS,
    SECOND,
    SECRET,
    THIRD,
    Export,
    Failing,
    Watched,
    at,
    listed,
    model,
    unhurried,
)

SERVICE = "Microsoft.Athena.TrickleFeedService"
OWN = f"{FIRST}/{SERVICE}/account-model.json"
# model.json of an export that broke off: it may parse, or not even that.
LACKS_IT = model("contact")
BROKEN = ACCOUNT[:-30]

broken_off = pytest.mark.parametrize(
    ("broken", "code"),
    [
        pytest.param(LACKS_IT, "entity_missing", id="lacks the table"),
        pytest.param(BROKEN, "model_malformed", id="does not parse"),
    ],
)


def described(name: str, *columns: str) -> bytes:
    """Return a model of one table with these text columns."""
    attributes = [{"name": column, "dataType": "string"} for column in columns]
    entity = {"$type": "LocalEntity", "name": name, "attributes": attributes}
    return json.dumps({"name": "cdm", "entities": [entity]}).encode()


def columns(export: Export, table: str = "account") -> list[str]:
    """Return the columns with which a table is read."""
    entity = export.source.entity(FIRST, table)
    return [attribute.name for attribute in entity.attributes]


class TestRescue:
    @broken_off
    def test_the_table_is_read_with_its_own_model(
        self, export: Export, broken: bytes, code: str
    ) -> None:
        """Row 6 of the catalogue."""
        export.folder(FIRST, "account/2026.csv", model=broken)
        export.write(OWN, described("account", "Id", "colour"))

        assert columns(export) == ["Id", "colour"]
        assert export.read("account", FIRST) == ROWS

    def test_what_model_json_describes_is_read_with_it(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv", "contact/2026.csv", model=LACKS_IT)
        export.write(OWN, described("account", "Id", "colour"))
        export.write(
            f"{FIRST}/{SERVICE}/contact-model.json", described("contact", "other")
        )

        assert columns(export, "contact") == ["Id", "name"]
        assert columns(export, "account") == ["Id", "colour"]

    def test_the_folder_is_complete_and_keeps_the_model_that_it_has(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv", "contact/2026.csv", model=LACKS_IT)
        export.write(OWN, described("account", "Id"))

        partition = export.look()

        assert partition.state is PartitionState.READY
        assert partition.reason == ""
        assert partition.model is not None
        assert [entity.name for entity in partition.model.entities] == ["contact"]
        assert {*partition.files} == {"account", "contact"}

    def test_a_folder_whose_model_does_not_parse_still_says_why(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv", model=BROKEN)
        export.write(OWN, described("account", "Id"))

        partition = export.look()

        assert partition.state is PartitionState.READY
        assert partition.model is None
        assert "JSON" in partition.reason
        assert {*partition.files} == {"account"}

    def test_it_is_noted_with_the_reason(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv", "contact/2026.csv", model=LACKS_IT)
        export.write(OWN, described("account", "Id"))
        export.folder(SECOND, "account/2026.csv", model=BROKEN)
        export.write(
            f"{SECOND}/{SERVICE}/account-model.json", described("account", "Id")
        )

        said = f"account is read with {SERVICE}/account-model.json: "
        (first,) = (n for n in export.look().notes if n.startswith(said))
        (second,) = (n for n in export.look(SECOND).notes if n.startswith(said))

        assert "does not describe" in first
        assert "JSON" in second

    def test_nothing_is_noted_of_a_table_that_is_not_rescued(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2026.csv", model=LACKS_IT)

        assert not [note for note in export.look().notes if "is read with" in note]

    def test_unknown_types_of_its_own_model_are_noted(self, export: Export) -> None:
        odd = described("account", "Id").replace(b'"string"', b'"geometry"')
        export.folder(FIRST, "account/2026.csv", model=BROKEN)
        export.write(OWN, odd)

        assert any("geometry" in note for note in export.look().notes)

    def test_a_folder_without_entities_is_rescued_too(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv", model=b'{"entities": []}')
        export.write(OWN, described("account", "Id"))

        assert columns(export) == ["Id"]

    def test_one_entity_of_several_is_meant_by_its_name(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv", model=BROKEN)
        export.write(OWN, ACCOUNT)

        assert export.source.entity(FIRST, "account").name == "account"
        assert columns(export) == ["Id", "name"]

    def test_an_entity_in_another_case_is_meant(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv", model=BROKEN)
        export.write(OWN, described("Account", "Id", "colour"))

        assert columns(export) == ["Id", "colour"]

    def test_the_exact_name_is_preferred_to_another_case(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv", model=BROKEN)
        both = json.loads(described("Account", "other"))
        both["entities"] += json.loads(described("account", "Id"))["entities"]
        export.write(OWN, json.dumps(both).encode())

        assert columns(export) == ["Id"]

    def test_a_file_that_its_own_model_lists_must_be_there(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "account/2025.csv", model=BROKEN)
        export.write(OWN, model("account", account=listed("2025", "2026")))

        error = export.refusal("account")

        assert error.code == "file_missing"
        assert "2026.csv" in str(error)
        assert "account-model.json" in str(error)

    def test_a_table_whose_folder_is_gone_has_no_files(self, export: Export) -> None:
        """The load compares them with those that were found."""
        export.folder(FIRST, model=BROKEN)
        export.write(OWN, described("account", "Id"))

        assert export.source.files(FIRST, "account") == ()

    def test_a_repaired_model_json_is_preferred(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv", model=BROKEN)
        export.write(OWN, described("account", "Id", "colour"))
        source = export.source
        source.discover(())
        before = source.entity(FIRST, "account")
        export.folder(FIRST, model=ACCOUNT)
        after = source.entity(FIRST, "account")

        assert [a.name for a in before.attributes] == ["Id", "colour"]
        assert [a.name for a in after.attributes] == ["Id", "name"]


KEYS = [{"logicalName": "a", "isPrimaryKey": True}]
OTHERS = {
    "logicalName": {"entities": [{"logicalName": "account", "attributes": KEYS}]},
    "columns": {"tables": [{"name": "account", "columns": ["a", "b"]}]},
    "fields": {"tables": [{"tableName": "account", "fields": [{"name": "a"}]}]},
}


class TestOtherDialects:
    """They may declare keys of several columns: rows would take each other's place."""

    @pytest.mark.parametrize("dialect", OTHERS)
    def test_a_folder_of_another_dialect_is_refused_as_the_exports_own_model_is(
        self, export: Export, dialect: str
    ) -> None:
        data = json.dumps(OTHERS[dialect]).encode()
        export.folder(FIRST, "account/2026.csv", model=data)
        export.write("model.json", data)

        error = export.refusal("account")
        with pytest.raises(ModelError) as caught:
            export.source.root_model()

        assert error.code == caught.value.code == "model_malformed"
        for said in (str(error), str(caught.value)):
            assert f"in the dialect {dialect}" in said
            assert "Synapse Link" in said

    @pytest.mark.parametrize("dialect", OTHERS)
    def test_a_tables_own_model_of_another_dialect_is_of_no_use(
        self, export: Export, dialect: str
    ) -> None:
        export.folder(FIRST, "account/2026.csv", model=LACKS_IT)
        export.write(OWN, json.dumps(OTHERS[dialect]).encode())

        error = export.refusal("account")

        assert error.code == "entity_missing"
        assert f"in the dialect {dialect}" in str(error)


class TestNoRescue:
    @broken_off
    @pytest.mark.parametrize(
        "own",
        [
            pytest.param(None, id="absent"),
            pytest.param(b"", id="empty"),
            pytest.param(described("account", "Id")[:-5], id="cut"),
            pytest.param(b"\0" * 100, id="zeros"),
            pytest.param(b"[]", id="a list"),
            pytest.param(b'{"entities": []}', id="no entity"),
            pytest.param(described("contact", "Id"), id="another table"),
            pytest.param(described("account"), id="no columns"),
            pytest.param(model("Account", "ACCOUNT"), id="two that could be meant"),
        ],
    )
    def test_without_a_usable_one_the_error_is_that_of_model_json(
        self, export: Export, broken: bytes, code: str, own: bytes | None
    ) -> None:
        export.folder(FIRST, "account/2026.csv", model=broken)
        if own is not None:
            export.write(OWN, own)

        error = export.refusal("account")

        assert error.code == code
        assert isinstance(error, ModelError) == (code == "model_malformed")
        assert error.permanent
        assert "no usable per-table model" in str(error)
        assert error.where.startswith(f"{FIRST}/model.json")
        with pytest.raises(SourceError) as caught:
            export.source.entity(FIRST, "account")
        assert caught.value.code == code

    @broken_off
    @pytest.mark.timeout(10)
    @pytest.mark.parametrize(
        "kind", ["a directory", "a link", "a pipe", "a linked folder"]
    )
    def test_what_is_no_file_is_no_model(
        self, export: Export, broken: bytes, code: str, kind: str
    ) -> None:
        elsewhere = export.base / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "account-model.json").write_bytes(described("account", "Id"))
        export.folder(FIRST, "account/2026.csv", model=broken)
        path = export.root / OWN
        if kind == "a linked folder":
            path.parent.symlink_to(elsewhere)
        else:
            path.parent.mkdir()
            if kind == "a directory":
                path.mkdir()
            elif kind == "a link":
                path.symlink_to(elsewhere / "account-model.json")
            else:
                os.mkfifo(path)

        assert export.refusal("account").code == code

    @pytest.mark.parametrize("data", [None, b""])
    def test_it_does_not_stand_in_for_a_model_json_that_is_not_there(
        self, export: Export, data: bytes | None
    ) -> None:
        """Such a folder waits or was abandoned: its rows come again."""
        export.folder(FIRST, "account/2026.csv", model=data)
        export.write(OWN, described("account", "Id"))

        assert export.states() == {FIRST: "waiting"}
        assert export.refusal("account").code == "file_missing"
        with at(LATER):
            assert export.look().state is PartitionState.SKIPPED
            assert not [n for n in export.look().notes if "is read with" in n]

    def test_the_models_of_other_folders_do_not_stand_in(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv", model=LACKS_IT)
        export.write(f"{SERVICE}/account-model.json", described("account", "Id"))
        export.write(
            f"{SECOND}/{SERVICE}/account-model.json", described("account", "Id")
        )

        assert export.refusal("account").code == "entity_missing"

    def test_one_that_cannot_be_read_for_now_is_tried_again(
        self, export: Export
    ) -> None:
        """Then it is not known whether it is of use, and the table must not park."""
        export.folder(FIRST, "account/2026.csv", model=BROKEN)
        export.write(OWN, described("account", "Id"))
        storage = Failing(export.root, OWN)
        source = SynapseLink(storage)

        (partition,) = source.discover(()).partitions
        with pytest.raises(SourceError) as caught:
            source.entity(FIRST, "account")

        assert partition.state is PartitionState.READY
        assert not caught.value.permanent
        storage.paths.clear()
        assert source.entity(FIRST, "account").name == "account"

    def test_a_name_that_is_too_long_for_a_file_has_none(self, export: Export) -> None:
        """The folder's name just fits; that of its model does not."""
        name = "x" * 250
        export.folder(FIRST, f"{name}/2026.csv", model=LACKS_IT)
        export.write(OWN, described("account", "Id"))

        assert name in export.look().files
        assert export.refusal(name).code == "entity_missing"


class TestCost:
    def test_a_look_at_healthy_folders_reads_their_models_and_nothing_more(
        self, export: Export
    ) -> None:
        names = [f"2026-03-01T07.{minute:02}.00Z" for minute in range(50)]
        for name in names:
            export.folder(name, "account/2026.csv", model=ACCOUNT)
            export.write(f"{name}/{SERVICE}/account-model.json", ACCOUNT)
        storage = Watched(export.root)

        SynapseLink(storage).discover(names[:25])

        assert (
            sorted(storage.asked)
            == sorted(
                [
                    "Changelog",  # the size of the log
                    "Changelog/changelog.info",
                    "Changelog/Synapse.log",
                    "",
                    *(
                        f"{name}{path}"
                        for name in names[25:]
                        for path in ("", "/account", "/model.json")
                    ),
                ]
            )
        )

    def test_a_folder_in_another_case_needs_no_model_of_its_own(
        self, export: Export
    ) -> None:
        export.folder(FIRST, "Account/2026.csv")
        export.write(OWN, described("account", "other"))
        export.write(f"{FIRST}/{SERVICE}/Account-model.json", described("Account", "x"))
        storage = Watched(export.root)
        source = SynapseLink(storage)

        source.discover(())
        (file,) = source.files(FIRST, "account")

        assert file.path == f"{FIRST}/Account/2026.csv"
        assert columns(export) == ["Id", "name"]
        assert not [path for path in storage.asked if SERVICE in path]

    def test_only_the_tables_that_need_it_are_looked_up(self, export: Export) -> None:
        export.folder(FIRST, "account/2026.csv", "contact/2026.csv", model=LACKS_IT)
        storage = Watched(export.root)

        SynapseLink(storage).discover(())

        assert [path for path in storage.asked if SERVICE in path] == [OWN]


class TestMemory:
    def test_a_forgotten_model_is_read_again(
        self, export: Export, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folder_models, "MODELS_KEPT", 1)
        export.folder(FIRST, "account/2026.csv", model=described("account", "a"))
        export.folder(SECOND, "account/2026.csv", model=described("account", "b"))
        source = export.source
        source.discover(())

        for _ in range(2):
            for name, column in ((FIRST, "a"), (SECOND, "b")):
                (attribute,) = source.entity(name, "account").attributes
                assert attribute.name == column

    def test_equal_schemas_of_many_folders_are_one_object(self, export: Export) -> None:
        for name in (FIRST, SECOND, THIRD):
            export.folder(name, model=ACCOUNT)
        export.folder(THIRD, model=model("account", account=listed("2026")))
        source = export.source

        first, second, third = (
            source.entity(name, "account") for name in (FIRST, SECOND, THIRD)
        )

        assert first.attributes is second.attributes is third.attributes
        assert not second.partitions
        assert third.partitions


class Traced(Directory):
    """A directory that knows where the files truly are that it opened."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[Path] = []

    def open(self, path: str) -> BinaryIO:
        stream = super().open(path)
        self.opened.append(Path(f"/proc/self/fd/{stream.fileno()}").readlink())
        return stream


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Return an export without a usable model.json, and models all around it."""
    export = Export(tmp_path_factory.mktemp("trap"))
    export.folder(FIRST, "account/2026.csv", model=BROKEN)
    export.write(OWN, described("account", "Id"))
    (export.root / FIRST / SERVICE / "link").symlink_to(export.base)
    (export.root / FIRST / "link").symlink_to(export.base)
    for name in ("x-model.json", "-model.json", "..-model.json", "model.json"):
        (export.base / name).write_bytes(described("x", "Id"))
        export.write(name, described("x", "Id"))
        export.write(f"{FIRST}/x/{name}", SECRET)
        export.write(f"{FIRST}/{SERVICE}/deep/{name}", described("x", "Id"))
    return export


class TestAnyName:
    @unhurried
    @given(
        st.lists(
            st.sampled_from(
                [
                    *("..", ".", "", "x", "/", "\\", "\0", "~", "%2e%2e", "%2f"),
                    *("link", "deep", "account", "export", FIRST, SERVICE, "\udc80"),
                ]
            )
            | st.text(max_size=4),
            max_size=8,
        ).map("/".join)
        | st.text()
    )
    @example("x")
    @example("../x")
    @example("../../../x")
    @example("deep/x")
    @example("link/x")
    @example("/x")
    @example("account")
    def test_no_table_name_leads_to_another_file_than_its_own(
        self, trap: Export, table: str
    ) -> None:
        storage = Traced(trap.root)
        source = SynapseLink(storage)
        folder = trap.root / FIRST

        for ask in (source.entity, source.files):
            try:
                found = ask(FIRST, table)
            except SourceError:
                pass
            else:
                assert table == "account" or found == ()

        names = {path.relative_to(folder).as_posix() for path in storage.opened}
        assert names <= {"model.json", f"{SERVICE}/{table}-model.json"}
        assert {path.parent for path in storage.opened} <= {folder, folder / SERVICE}
