"""What fuzzing begins with: inputs that are nearly right, and words of the formats."""

from __future__ import annotations

from pathlib import Path

_DATA = Path(__file__).resolve().parent.parent / "tests" / "data"

_ROW = b'1,"6/28/2026 4:34:35 PM",True,"2026-05-25T16:21:09.0000000+00:00"'
_CSV = (
    b"\x07" + _ROW + b"\n" + _ROW + b"\r\n" + _ROW,
    b'\x021,"a\nb","c""d",\r"1/1/2020 13:00:00 PM"\n1,2,Tru',
    b'\x01"now",n"o"w,"z""today",infinity\n, now 10:00 ,call me today',
    b"\x04\\.\n1,,\n\xff\n\0,",
)
_MODELS = (
    b'{"entities":[{"name":"t","attributes":[{"name":"Id","dataType":"guid"}]}]}',
    b'\xef\xbb\xbf{"entities":[{"$type":"LocalEntity","name":"t","annotations":[{"name":'
    b'"Athena:InitialSyncDataCompletedTime","value":"x"}],"attributes":[{"name":"a",'
    b'"dataType":"odd"}],"partitions":[{"name":"p","location":"https://x/p"}]}]}',
)
_LINE = b'2024-09-10T12:05:30Z | Update | account | {"a": "x|y", "b": -0, "c": null}'
_FEEDS = (
    b"\x06" + _LINE + b"\n" + _LINE + b"\r\n" + _LINE,
    b"\x02\xef\xbb\xbf" + _LINE,
    b"\x03\n" + _LINE.replace(b"account", b"../x") + b" x\n\n" + _LINE[:-4],
    b'\x01x|y|CONTACT|{"a":"\\ud800"}\nz|DELETE|account|{"A":[{"b":1e9}]}\nnobody\n',
)
_NAMES = (
    b"Id\nname\nNAME\nctid\nversionnumber\nSinkModifiedOn",
    ("x" * 70 + "\n" + "X" * 70 + "\n\u0130\n\u00df\u1e9e" + "\u00e9" * 40).encode(),
)
SEEDS: dict[str, tuple[bytes, ...]] = {
    "records": _CSV,
    "counter": _CSV,
    "rows": _CSV,
    "words": _CSV,
    "feed": _FEEDS,
    "names": _NAMES,
    "paths": (b"folder/file.csv", b"link", b"..", bytes(range(12)), b"\x05\x06"),
}
_CSV_WORDS = (
    *('"', '""', ",", "\\x0a", "\\x0d\\x0a", "\\x0d", "now", "today", "infinity"),
    *("True", "13:00:00 PM", "1/1/2020 ", "epoch", "tomorrow", "allballs", "\\x00"),
)
_MODEL_WORDS = (
    *('{"', '"}', '":', "[", "]", "{", "}", ",", "null", "NaN", "\\xef\\xbb\\xbf"),
    *("entities", "attributes", "partitions", "annotations", "name", "dataType"),
    *("$type", "LocalEntity", "location", "string", "int64", "dateTime", "value"),
    *("Athena:InitialSyncDataCompletedTime", "\\\\ud800", "1e999"),
)
_FEED_WORDS = (
    *("2024-09-10T12:05:30Z", "|", " | ", "INSERT", "update", "DELETE", "account"),
    *("Contact", '{"a":', '"', "}", "]", "[", "null", "true", "-0", "1e999", "NaN"),
    *("\\x0a", "\\x0d\\x0a", "\\xef\\xbb\\xbf", "\\\\ud800", "\\\\", "../", "now"),
)
_WORDS = {"model_json": _MODEL_WORDS, "feed": _FEED_WORDS}


def seeds(target: str) -> tuple[bytes, ...]:
    """Return the inputs with which a target begins."""
    if target == "model_json":
        return (*_MODELS, *(p.read_bytes() for p in sorted(_DATA.glob("*model*.json"))))
    return SEEDS[target]


def dictionary(target: str) -> str:
    """Return the target's words, as libFuzzer reads them."""
    words = _WORDS.get(target, _CSV_WORDS)
    return "".join(f'"{_escaped(word)}"\n' for word in words)


def _escaped(word: str) -> str:
    return word.replace('"', '\\"')
