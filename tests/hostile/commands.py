"""Odd words on the command line: names, places, and flags that do not go together."""

import random
from collections.abc import Iterator, Sequence

from case import RUN, SMOKE, A, B, Case, Expected, nothing
from number_flags import EVALUATE, NEW, ONE, examples, filled, said
from values import LONG, MISSING, NAMES, THERE, odd_paths

NAMED: dict[tuple[str, ...], Expected] = {
    ("list", ONE): "refused",
    ("show", ONE): "refused",
    ("show", "vae", "-d", ONE): "refused",
    ("run", ONE, *SMOKE): "refused",
    ("run", "vae", "-d", ONE, *SMOKE): "refused",
    ("run", "toy", "-m", ONE, *SMOKE): "refused",
    ("run", "toy", "-d", ONE, *SMOKE): "refused",
    (*RUN, "--name", ONE): "either",
    (*NEW, "--from", ONE): "refused",
    (*NEW, "--device", ONE): "refused",
    (*NEW, "--strategy", ONE): "refused",
    (*NEW, "--budget", ONE): "refused",
    (*NEW, "--precision", ONE): "refused",
    (*NEW, "--activation", ONE): "refused",
    (*NEW, "--data-dir", ONE): "either",
    (*NEW, "--norm", ONE): "either",
    (ONE,): "refused",
    ("data", ONE): "refused",
    ("sample", ONE, "-n", "2"): "refused",
    ("sample", A, "-n", "2", "--experiment", ONE): "refused",
    ("compare", A, ONE): "refused",
    ("compare", A, B, "--metric", ONE): "refused",
    ("compare", "toy", "-m", ONE): "refused",
    ("compare", "toy", "-d", ONE): "refused",
    ("compare", "toy", "--name", ONE): "refused",
    ("compare", "toy", "--out", ONE): "refused",
    ("report", ONE): "refused",
    ("report", A, "--metric", ONE): "refused",
    ("report", A, "--out-file", ONE): "refused",
    ("evaluate", ONE, "-q", "-k", "2"): "refused",
    (*EVALUATE, "--metric", ONE): "refused",
    (*EVALUATE, "--split", ONE): "refused",
    (*EVALUATE, "--device", ONE): "refused",
    (*EVALUATE, "--experiment", ONE): "refused",
    (*EVALUATE, "--data-at", ONE): "refused",
    (*EVALUATE, "--start", ONE): "refused",
    ("certify", ONE): "refused",
    ("certify", "vae", "-d", ONE): "refused",
    ("certify", "vae", "--shape", "2", "--domain", ONE): "refused",
    ("certify", "vae", "--shape", ONE): "refused",
    ("certify", NEW[1], "--only", ONE): "refused",
    ("data", "fetch", ONE): "refused",
    ("data", "check", ONE): "refused",
    ("data", "show", ONE): "refused",
    ("data", "show", f"array:{ONE}"): "refused",
    ("data", "show", f"csv:{ONE}"): "refused",
    ("data", "show", f"folder:{ONE}"): "refused",
    ("data", "show", f"csv:table.csv,{ONE}=x"): "refused",
    ("data", "show", f"csv:table.csv,columns={ONE}"): "refused",
    ("data", "show", f"csv:table.csv,separator={ONE}"): "refused",
    ("data", "show", f"array:rows.npy,binarise={ONE}"): "refused",
    ("data", "show", f"folder:pictures,colour={ONE}"): "refused",
    ("data", "show", f"folder:pictures,stream={ONE}"): "refused",
}

READ = (
    *(("data", "show", f"{kind}:{ONE}") for kind in ("csv", "array", "folder")),
    ("data", "show", f"array:{ONE},stream=yes"),
    ("data", "check", f"folder:{ONE}"),
    ("data", "check", "mnist", "--data-dir", ONE),
    ("data", "fetch", "frey-faces", "--data-dir", ONE),
    ("run", "vae", "-d", f"array:{ONE}", *SMOKE),
    ("run", f"{ONE}:x", *SMOKE),
    ("list", f"{ONE}.py"),
    (*NEW, "--from", ONE),
    ("sample", ONE),
    ("compare", ONE, B),
    ("report", ONE),
    ("evaluate", ONE, "-q", "-k", "2"),
)
WRITE = (
    ("compare", A, B, "--csv", ONE),
    ("compare", A, B, "--markdown", ONE),
    ("compare", A, B, "--latex", ONE),
    ("report", A, "--out-file", f"{ONE}/r.html"),
    ("report", A, "--out-file", f"{ONE}.html"),
    ("sample", A, "-n", "2", "--out", f"{ONE}.npz"),
    ("sample", A, "-n", "2", "--out", f"{ONE}/s.npz"),
    (*RUN, "--out", ONE),
)

FLAGS = (
    (),
    ("--version", "--nosuch"),
    ("--nosuch",),
    ("-x",),
    ("data",),
    ("data", "fetch"),
    ("data", "show"),
    ("show",),
    ("run",),
    ("sample",),
    ("certify",),
    ("compare",),
    ("report",),
    ("evaluate",),
    ("list", "toy", "more"),
    ("show", "toy", "more"),
    ("show", "toy", "-d"),
    (*NEW, "--steps"),
    (*NEW, "--nosuch", "1"),
    (*NEW, "--lr=", "x"),
    (*NEW, "--lrr", "1"),
    (*NEW, "--bins", "4"),
    (*NEW, "--critic-lr", "1e-3"),
    (*NEW, "--couplings", "2"),
    (*NEW, "--steps", "5", "--epochs", "5"),
    (*NEW, "--pseudo-inputs", "5"),
    (*NEW, "--gradient", "dreg"),
    (*NEW, "--strategy", "sequential", "--strategy", "nosuch"),
    (*NEW, "--again=yes"),
    (*NEW, "-q=no"),
    (*NEW, "more"),
    (*NEW, "-m", "vae"),
    (*NEW, "-d", "digits"),
    (*NEW, "--record", "--budget", "smoke"),
    (*NEW, "--from", "a", "--hidden", "5,5"),
    (*NEW, "--from", "a", "-n", "5"),
    (*NEW, "-n", "1,1"),
    (*NEW, "-n", "3:1"),
    (*NEW, "-n", "1:2:3"),
    (*NEW, "-n", ":"),
    (*NEW, "-n", ","),
    (*NEW, "-n", "0,-1"),
    (*NEW, "-n", "a:b"),
    (*NEW, "-n", "1" + "0" * 300 + ",2"),
    (*NEW, "--device", "meta"),
    (*NEW, "--device", "cuda:99"),
    (*NEW, "--device", "cuda:-1"),
    (*NEW, "--device", "cpu:5"),
    (*NEW, "--name", "a/b"),
    (*NEW, "--name", ".."),
    ("run", "vae", *SMOKE),
    ("run", "draw", "-d", "8gaussians", *SMOKE),
    ("run", "spline-flow", "-d", "digits-binary", *SMOKE),
    ("run", "toy", "-m", "vae", "-m", "flow", "-d", "nosuch", *SMOKE),
    ("compare", A),
    ("compare", A, A),
    ("compare", A, B, "--csv", ""),
    ("compare", A, B, "--metric", "kl_nats"),
    ("compare", "digits", "toy"),
    ("compare", "-m", "vae", "--out", "missing"),
    ("sample", "runs"),
    ("sample", A, "--seed", "7"),
    ("sample", A, "--out", "x.txt"),
    ("sample", A, "--chain", "3"),
    ("sample", A, "--chain-from", "draws"),
    ("sample", A, "--start", "limiting", "--chain-from", "missing.npz"),
    ("sample", A, "--start", "limiting", "--chain-from", "x.txt"),
    ("sample", A, "--shown", "median"),
    ("sample", A, "--experiment", "toy/8gaussians/flow"),
    ("report", A, "--out-file", "x.pdf"),
    ("report", "toy", "-m", "nosuch"),
    ("compare", "toy", "-m", "vae"),
    ("evaluate", "--help", "--nosuch"),
    ("evaluate", A, "--metric", "sw", "-k", "3", "-q"),
    ("evaluate", A, "--start", "prior", "-k", "2", "-q"),
    ("evaluate", A, "--data-at", "array:x.npy", "-k", "2", "-q"),
    ("evaluate", A, "--record", "--budget", "smoke", "-k", "2", "-q"),
    ("evaluate", A, "--record", "--split", "valid", "-k", "2", "-q"),
    ("certify", "toy"),
    ("certify", "vae"),
    ("certify", "vae", "-d", "moons", "--shape", "2"),
    ("certify", "vae", "--domain", "levels:1", "--shape", "2"),
    ("certify", "wgan-gp", "-d", "digits-binary"),
    ("certify", "conv-vae", "-d", "moons"),
    ("data", "show", "csv:"),
    ("data", "show", "csv:table.csv,columns=a,columns=b"),
    ("data", "show", "csv:table.csv,columns=a,drop=a"),
    ("data", "show", "csv:table.csv,drop=a+b+c"),
    ("data", "show", "csv:table.csv,decimal=,"),
    ("data", "show", "csv:table.csv,header=maybe"),
    ("data", "show", "csv:table.csv,split=nosuch"),
    ("data", "show", "csv:table.csv,binarise=dynamic"),
    ("data", "show", "array:rows.npy,key=x"),
    ("data", "show", "array:rows.npy,stream=maybe"),
    ("data", "show", "array:rows.npy,stream=yes,key=x"),
    ("data", "show", "folder:pictures,size=3x"),
    ("data", "show", "folder:pictures,crop=left"),
    ("data", "show", "folder:pictures,size=99999x99999"),
    ("data", "fetch", "moons", "nosuch"),
    ("data", "check", "moons", "nosuch"),
)
# Twice the same, where the last counts, and help wherever it is asked for.
HARMLESS = (
    ("--help",),
    ("-h",),
    ("--version",),
    ("run", "--help"),
    ("run", "toy", "--help"),
    ("run", "nosuch", "--help"),
    ("data", "fetch", "--help"),
    ("show", "toy"),
    ("show", "vae", "-d", "digits"),
    ("list",),
    ("list", "toy"),
    ("data", "list"),
    ("data", "show", "csv:table.csv"),
    ("data", "show", "array:rows.npy,levels=17"),
    ("data", "show", "folder:pictures"),
    ("data", "check", "csv:table.csv"),
    ("data", "fetch", "moons", "moons"),
    ("compare", A, B),
    ("compare", A, B, A, B, "--metric", "gap_nats", "--metric", "neg_elbo_nats"),
    ("report", A, A),
    ("sample", A, "-n", "3", "-n", "2"),
    (*EVALUATE, "-k", "3", "-k", "2"),
    (*NEW, "--lr", "1", "--lr", "1e-3"),
    (*NEW, "-q", "-q", "--quiet"),
    (*RUN, "--name", "a"),
)

COMPLETED = (
    "seedbed ",
    "seedbed run toy/",
    "seedbed run e.py",
    "seedbed compare ",
    "seedbed show vae -d ",
    "seedbed run 'x",
)
COMPLETED += (
    "seedbed run array:",
    "seedbed data show csv:fi",
    "seedbed report --out missing ",
    "seedbed run --name ",
    "seedbed \udcff",
)
COMPLETED += (
    "seedbed evaluate --metric ",
    "seedbed run toy -m ",
    f"seedbed run {LONG}",
    "seedbed run ~nosuch/",
    "seedbed data show csv:~nosuch/",
)
COMPLETED += (
    "seedbed run e.py:x --",
    "seedbed report --out text.txt ",
    "seedbed compare --out loop ",
    "seedbed data show array:[",
    "seedbed --",
)


def names(draw: random.Random) -> Iterator[Case]:
    """Every place of a name, with some that are none."""
    for words, expects in NAMED.items():
        for name in draw.sample(NAMES, 3):
            prepare = examples if "data" in words[:1] else nothing
            # A word that begins like a flag may be one: after it another one is missing, which is as good an answer.
            yield Case(
                kind="names",
                what=said(filled(words, name)),
                argv=filled(words, name),
                prepare=prepare,
                expects="either" if _harmless(words, name) else expects,
                trains=expects == "either" and words[0] == "run",
            )


def _harmless(words: Sequence[str], name: str) -> bool:
    """Names that mean something where they stand: an empty filter, a folder, help."""
    place = " ".join(words)
    folder = name.strip("/") in ("", ".", "..", "~") or "passwd" in name
    known = name.strip("/") in ("toy", "toy/8gaussians/vae") or "\0" in name
    return (
        ("folder:" in place or "--out " in place or "--data-dir" in place or "csv:{}" in place or "array:{}" in place)
        or (
            name in ("", "-", "--", "-x", "--nosuch", "=", "0", "a,b")
            and ("," in place or words[0] == ONE or len(words) > 2)
        )
        or (folder and words[0] in ("sample", "compare", "report", "evaluate"))
        or (known and words[0] in ("sample", "compare", "report", "evaluate"))
        or "--out-file" in place
        or name == ""
    )


def paths(draw: random.Random) -> Iterator[Case]:
    """Every place of a file or folder, with what is none."""
    for words in READ:
        for name in draw.sample(MISSING, 2):
            yield _path(words, name, "refused")
        for name in draw.sample(THERE, 3):
            # A folder may hold runs, or pictures, or be one to look for data in.
            yield _path(words, name, "either")
    for words in WRITE:
        for name in (*draw.sample(MISSING, 2), *draw.sample(THERE, 2)):
            if not name.startswith("/proc/self"):
                yield _path(words, name, "either")


def _path(words: Sequence[str], name: str, expects: Expected) -> Case:
    argv = filled(words, name)
    trains = words[0] == "run" and "--out" in words
    return Case(kind="paths", what=said(argv), argv=argv, prepare=odd_paths, expects=expects, trains=trains)


def outputs(draw: random.Random) -> Iterator[Case]:
    """Files that must not be replaced, named as where to write."""
    for verb, flag in (("compare", "--csv"), ("compare", "--latex"), ("report", "--out-file"), ("sample", "--out")):
        for name in ("null", "fifo", f"{A}/run.json", f"{A}/table/seed-0-1.csv", f"{B}/checkpoints", "folder", "socket"):
            argv = (verb, A, *((B,) if verb == "compare" else ()), flag, name)
            yield Case(kind="outputs", what=said(argv), argv=argv, prepare=odd_paths)
    for argv in (
        ("list",),
        ("show", "toy"),
        ("compare", A, B),
        ("data", "show", "moons"),
        ("--help",),
        ("certify", "--help"),
    ):
        for stdout in draw.sample(("full", "closed", "ascii"), 2):
            yield Case(kind="outputs", what=f"{said(argv)}, output {stdout}", argv=argv, expects="either", stdout=stdout)


def flags(draw: random.Random) -> Iterator[Case]:
    """Flags that are none, are not of this verb, stand twice, or against each other; and some that are all right."""
    for argv in FLAGS:
        yield Case(kind="flags", what=said(argv), argv=argv, prepare=examples)
    for argv in HARMLESS:
        yield Case(kind="flags", what=said(argv), argv=argv, prepare=examples, expects="fine", trains=argv[0] == "run")


def completion(draw: random.Random) -> Iterator[Case]:
    """What a shell asks while one types, which is never answered by an error."""
    for line in COMPLETED:
        for shell in draw.sample(("bash", "zsh", "fish"), 1):
            words = {"_SEEDBED_COMPLETE": f"{shell}_complete", "COMP_WORDS": line}
            words |= {"COMP_CWORD": line.split()[-1] if shell == "fish" else str(len(line.split(" ")) - 1)}
            yield Case(
                kind="completion", what=f"{shell}: {line!r:.60}", prepare=odd_paths, expects="fine", environment=words
            )
