"""Command lines near those of the documentation: keys, values, types, Unicode, nesting and lengths changed."""

import random
import re
import shlex
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from distill.config.compose import compose
from distill.config.schema import leaves

ROOT = Path(__file__).parents[2]
TRAIN = re.compile(r"(?:python train\.py|distill train)((?: [^`\n\\#|]+)+)")
ODD = (
    "", "null", "NULL", "NONE", "none", "~", "true", "False", "yes", "nan", "-nan", "inf", "-inf", "1e400", "1e-400",
    "0", "-0.0", "-1", "1", "0.5", "1.5", "2", "1e9", "1e18", "4294967296", "-9223372036854775809", "0x10", "0b1",
    "1_000", "1e3", "1,2", "1,", ",", "[]", "{}", "[null]", "[1,[2]]", "{a:1}", "{1:2}", "{_target_:os.getcwd}",
    "{_target_:null}", "{schedule:linear}", "{schedule:linear,start:8,end:2}", "{schedule:[1]}", "interval(0,1)",
    "range(1,4)", "range(3)", "choice(1,2)", "tag(log,interval(0.1,10))", "glob(*)", "shuffle(1,2)", "sort(2,1)",
    "int(x)", "str(3)", "float(1)", "json_str({})", "f(", "???", "_", "-", "--", "=", "==", "''", '""', "'", '"',
    "'a b'", "a b", " ", "\t", "\n", "a\nb", "\\", "\\\\", "a\\,b", "${x}", "${", "${}", "${seed}", "${..seed}",
    "${oc.env:HOME}", "${oc.env:NO_SUCH}", "${oc.decode:'{'}", "${oc.create:[1]}", "${kd}", "${kd.T}",
    "${hydra:run.dir}", "${now:%Y}", "${f:1}", "${${seed}}", "$HOME", "%s", "{0}", "%(x)s", "*", "?", "<b>", "&amp;",
    "#", "!!python/object:os.system", "&a [*a]", "a: b", "- a", "2026-01-31", "12:30", "a/b", ".", "..", "./x", "x/",
    "/dev/null", "/dev/null/x", "/proc/self/mem", "/no/such", "~", "~nobody/x", "\u00e9", "e\u0301", "\u212a",
    "\u0661\u0662", "\u2028", "\u200b", "\u202eabc", "\ufeff", "\U0001f600", "\u6570\u636e", "\udcff", "\x07",
    "\x1b[31m", "\x7f", "resnet8", "digits", "kd", "[kd,dkd]", "[kd,kd]", "[none,kd]", "sgd", "distill.losses.KD",
    "distill", "torch.nn.Linear", "builtins.exec", "os.system",
)  # fmt: skip
LENGTHS = (10, 100, 300, 1_000, 5_000, 30_000, 100_000)  # an argument has at most 131,071 bytes on Linux
FLAGS = (
    "-m", "--multirun", "--cfg", "--cfg=job", "--cfg job", "--cfg hydra", "-c x", "--resolve", "--package kd",
    "--info", "--info defaults", "--config-dir", "--config-dir=", "--config-dir .", "--config-dir /no/such",
    "--config-dir=~", "--config-name x", "--config-path x", "--help", "--hydra-help", "--version", "-v", "--verbose",
    "--epochs 5", "--lr=0.1", "-x", "--", "-", "--run", "--experimental-rerun x",
)  # fmt: skip

Words = list[str]
Mutation = Callable[[random.Random, Words], Words]


@cache
def real_commands() -> tuple[tuple[str, ...], ...]:
    """The arguments of train.py in every command of the README and of docs/, and of one without arguments."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    lines = {match[1].strip() for page in pages for match in TRAIN.finditer(page.read_text())}
    whole = [line for line in lines if all(line.count(quote) % 2 == 0 for quote in "'\"")]
    return ((), *sorted({tuple(shlex.split(line)) for line in whole}))


@cache
def pool() -> tuple[tuple[str, str], ...]:
    """Every key of the configuration with its value, and those of Hydra that commands use; every group and option."""
    config = OmegaConf.to_container(compose(["kd=combined"], return_hydra_config=True), resolve=False)
    values = [(key, str(value)) for key, value in leaves(config)]
    kept = [(key, value) for key, value in values if not key.startswith("hydra.help")]
    conf = ROOT / "src" / "distill" / "conf"
    return (*kept, *((file.parent.name, file.stem) for file in sorted(conf.glob("*/*.yaml"))))


def _index(rng: random.Random, words: Words) -> int:
    """Of an override, if there is one."""
    overrides = [index for index, word in enumerate(words) if "=" in word]
    return rng.choice(overrides or range(len(words)))


def _with_value(rng: random.Random, words: Words, change: Callable[[str], str]) -> Words:
    at = _index(rng, words)
    key, _, value = words[at].partition("=")
    return [*words[:at], f"{key}={change(value)}", *words[at + 1 :]]


def _with_key(rng: random.Random, words: Words, change: Callable[[str], str]) -> Words:
    at = _index(rng, words)
    key, equals, value = words[at].partition("=")
    return [*words[:at], f"{change(key)}{equals}{value}", *words[at + 1 :]]


def _edited(rng: random.Random, text: str) -> str:
    """A character more, less, twice, exchanged with the next, or another."""
    at = rng.randrange(len(text) + 1)
    other = rng.choice(
        ["", rng.choice(text or "x"), rng.choice("abzA_.-=,:;@+~/ ()[]{}'\"$#%0é\u200b\udcff"), text[at : at + 2][::-1]]
    )
    return text[:at] + other + text[at + rng.randint(0, 2) :]


def typo(rng: random.Random, words: Words) -> Words:
    """A key with a character changed."""
    return _with_key(rng, words, lambda key: _edited(rng, key))


def prefixed(rng: random.Random, words: Words) -> Words:
    """A key that is added, forced, removed, of another package or node, in capitals, or empty."""
    forms = (
        "+{}", "++{}", "~{}", "{}@x", "{}@kd:teacher", "{}.x", "kd.{}", "teacher.{}", "hydra.{}", "{}.", ".{}", "{}..x",
        "{}[0]", "{}.0", "", "+", "=", "{}/x", "hydra/{}", "_global_.{}", "{}._target_", "{}._partial_", "{}._args_",
        "{}._convert_", "{}.loss", "{0}.{0}",
    )  # fmt: skip
    return _with_key(rng, words, lambda key: rng.choice((key.upper(), *(form.format(key) for form in forms))))


def odd(rng: random.Random, words: Words) -> Words:
    """Another value: of another type, no value, of another grammar."""
    return _with_value(rng, words, lambda _: rng.choice(ODD))


def damaged(rng: random.Random, words: Words) -> Words:
    """A value with a character changed."""
    return _with_value(rng, words, lambda value: _edited(rng, value))


def joined(rng: random.Random, words: Words) -> Words:
    """Something odd within a value: at its beginning, at its end, in its middle."""

    def change(value: str) -> str:
        at = rng.choice((0, len(value), len(value) // 2))
        return value[:at] + rng.choice(ODD) + value[at:]

    return _with_value(rng, words, change)


def nested(rng: random.Random, words: Words) -> Words:
    """A value in lists, dicts, quotes, parentheses, interpolations; a key with as many parts."""
    depth = rng.choice((1, 2, 10, 100, 300, 1_000, 3_000))
    before, after = rng.choice(
        (
            ("[", "]"),
            ("{a:", "}"),
            ("[{a:", "}]"),
            ("'", "'"),
            ("${", "}"),
            ("(", ")"),
            ("int(", ")"),
            ("[", ""),
            ("${oc.env:", "}"),
        )
    )
    if rng.random() < 0.2:
        return _with_key(rng, words, lambda key: f"{key}.x" * depth)
    return _with_value(rng, words, lambda value: before * depth + value + after * depth)


def long(rng: random.Random, words: Words) -> Words:
    """A value or a key of many characters, digits or items; many times the same override."""
    count = rng.choice(LENGTHS)
    unit = rng.choice(("a", "9", "1,", "a ", "é", "\\", "'", "a/", "{", "a.", "-", "a=", "\u200b", "$", "/"))
    text = (unit * count)[:count]
    kind = rng.random()
    if kind < 0.15:
        return _with_key(rng, words, lambda key: key + text)
    if kind < 0.25:
        return [*words, *[words[_index(rng, words)]] * min(count, 1_000)]
    if kind < 0.4:
        return _with_value(rng, words, lambda _: f"[{text}]")
    return _with_value(rng, words, lambda value: rng.choice((text, value + text, f"'{text}'")))


def flagged(rng: random.Random, words: Words) -> Words:
    """A flag of Hydra's, of ours or of another program's, anywhere."""
    at = rng.randrange(len(words) + 1)
    return [*words[:at], *rng.choice(FLAGS).split(" "), *words[at:]]


def rearranged(rng: random.Random, words: Words) -> Words:
    """Words left out, twice, in another order, without their ``=``; two in one; half of another command."""
    other = list(rng.choice(real_commands()))
    at = _index(rng, words)
    before, word, after = words[:at], words[at], words[at + 1 :]
    return rng.choice(
        (
            before + after,
            words + words[at:],
            words[::-1],
            [*before, word.replace("=", ""), *after],
            [*before, "".join(words[at : at + 2]), *after[1:]],
            words + other,
            other + words,
            [" ".join(words)],
            [*before, *word.split("=", 1), *after],
        )
    )


def filled(rng: random.Random, words: Words) -> Words:
    """One more key of the configuration with its own value, or that of another key."""
    (key, value), (_, another) = rng.choice(pool()), rng.choice(pool())
    return [*words, f"{key}={rng.choice((value, another))}"]


MUTATIONS: tuple[Mutation, ...] = (typo, prefixed, odd, damaged, joined, nested, long, flagged, rearranged, filled)


def mutated(seed: int, number: int) -> tuple[str, Words]:
    """The names of the mutations, and the arguments of train.py that they make of a real command.

    The same for the same seed and number, as long as the documentation and the keys stay as they are.
    """
    rng = random.Random(f"{seed}-{number}")
    words = list(rng.choice(real_commands()))
    chosen: list[Mutation] = []
    if not words or rng.random() < 0.5:  # half of all keys do not occur in the documentation
        words, chosen = filled(rng, words), [filled]
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        mutation = rng.choice(MUTATIONS)
        words = mutation(rng, words or ["seed=1"])
        chosen.append(mutation)
    return "+".join(mutation.__name__ for mutation in chosen), [word.replace("\0", "") for word in words]


def shown(words: Iterable[str]) -> str:
    """Arguments as one line of a shell, long ones cut."""
    line = shlex.join(words).encode("utf-8", "backslashreplace").decode()
    return line if len(line) <= 300 else f"{line[:200]} ... {line[-80:]} ({len(line)} characters)"
