"""Tables of one's own: how a file is written is recognised or asked for, and what is refused says what mends it."""

import gzip
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.data import load
from seedbed.data.columns import check_columns
from seedbed.data.own import as_dataset
from seedbed.data.tables import read_table

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)) * [1.0, 1e3, 1e-3] + [0.0, 5e3, 0.0]


def text(values: np.ndarray = X, header: str = "a,b,c", separator: str = ",", decimal: str = ".") -> str:
    rows = [separator.join(repr(float(v)).replace(".", decimal) for v in row) for row in values]
    return "\n".join([*([header.replace(",", separator)] if header else []), *rows]) + "\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (text(), "t.csv, 3 columns (a, b, c)"),
        ("\ufeff" + text().replace("\n", "\r\n"), "t.csv, 3 columns (a, b, c)"),
        (text(separator=";"), "(semicolons between), 3 columns"),
        (text(separator="\t"), "(tabs between), 3 columns"),
        (text(separator=" "), "(spaces between), 3 columns"),
        (text(separator=";", decimal=","), "(semicolons between, decimal commas), 3 columns"),
        (text(separator="\t", decimal=","), "(tabs between, decimal commas), 3 columns"),
        (text(header=""), "(no header: columns by number), 3 columns (1, 2, 3)"),
        (gzip.compress(text().encode()), "t.csv, 3 columns"),
    ],
)
def test_however_it_is_written_the_numbers_are_the_same(content: str | bytes, said: str, tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "t.csv", content))
    assert np.allclose(table.splits["train"], X, rtol=1e-14) and said in table.title


def test_columns_are_chosen_by_name_and_by_number(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", "id,a,b,name\n" + "\n".join(f"{i},{x!r},{y!r},n{i}" for i, (x, y, _) in enumerate(X.tolist()))
    )
    for options in ({"columns": "a+b"}, {"drop": "id+name"}, {"columns": "#2+#3"}, {"columns": "b+a"}):
        table = read_table(path, **options)
        assert table.names == ("a", "b") and np.allclose(table.splits["train"], X[:, :2], rtol=1e-14)
    data = load(f"csv:{path},columns=a+b")
    assert data.shape == (2,) and data.domain == REAL and data.name == f"csv:{path},columns=a+b"


def test_a_column_says_the_split(tmp_path: Path) -> None:
    words = ["Train"] * 30 + ["val"] * 4 + ["test"] * 6
    path = write(
        tmp_path / "t.csv",
        "a,part,b\n" + "\n".join(f"{x!r},{w},{y!r}" for (x, y, _), w in zip(X.tolist(), words, strict=True)),
    )
    data = load(f"csv:{path},split=part")
    assert [len(data.splits[s]) for s in ("train", "valid", "test")] == [30, 4, 6]
    assert torch.equal(data.splits["test"][:], torch.tensor(X[34:, :2], dtype=torch.float32))
    assert "splits as given" in data.protocol


def test_all_forms_of_one_table_are_one_data_set(tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    np.save(tmp_path / "t.npy", X)
    sets: list[Any] = [f"csv:{tmp_path / 't.csv'}", f"array:{tmp_path / 't.npy'}", frame, X, torch.tensor(X)]
    sets += [{"Train": X}, TensorDataset(torch.tensor(X))]
    found = [as_dataset(data, seed=3) for data in sets]
    assert len({data.checksum() for data in found}) == 1 and all(data.units is not None for data in found)
    assert as_dataset(found[0]) is found[0]
    with pytest.raises(SeedbedError, match="data must be a name, an array"):
        as_dataset(3)
    with pytest.raises(SeedbedError, match="own has labels, no splits"):
        as_dataset({"train": X, "labels": X})


def test_units_are_those_of_the_training_split_and_the_splits_stay_in_them(tmp_path: Path) -> None:
    data = load(f"csv:{write(tmp_path / 't.csv', text())}")
    train, units = data.splits["train"][:].double(), data.units
    assert units is not None
    assert torch.allclose(units.location.double(), train.mean(0), rtol=1e-6, atol=1e-9)
    assert torch.allclose(units.scale.double(), train.std(0, correction=0), rtol=1e-6)
    shown = data.standardised.splits
    assert torch.allclose(units.outward(shown["test"][:]), data.splits["test"][:], rtol=1e-6, atol=1e-6)
    assert data.standardised.units is None and data.standardised is data.standardised
    assert load(f"csv:{tmp_path / 't.csv'},standardise=no").units is None


def test_a_timestamp_keeps_its_digits(tmp_path: Path) -> None:
    """A mean of 2e9 and a deviation of 1: as fp32 all would be one number."""
    time_ = 2e9 + X[:, 0]
    data = load(f"csv:{write(tmp_path / 't.csv', text(np.column_stack([time_, X[:, 1]]), 'time,b'))}")
    assert "fp32 can tell values apart: time from 2000000000" in data.protocol
    kept = torch.cat([data.splits[s][:] for s in ("train", "valid", "test")])[:, 0].double().sort().values
    assert torch.allclose(kept, torch.tensor(np.sort(time_ - 2e9)), atol=1e-6)


def test_pictures_have_units_by_channel(tmp_path: Path) -> None:
    x = RNG.normal(size=(50, 3, 4, 4)) * np.array([1.0, 10.0, 100.0])[:, None, None]
    units = as_dataset(x).units
    assert units is not None and units.scale.shape == (3, 1, 1)
    assert units.scale.flatten().tolist() == pytest.approx([1, 10, 100], rel=0.2)


def test_few_values_are_named_and_allowed(tmp_path: Path) -> None:
    yes = (RNG.random(40) < 0.5) * 1.0
    path = write(tmp_path / "t.csv", text(np.column_stack([X[:, :2], yes]), "a,b,smokes"))
    with pytest.warns(UserWarning, match=r"few distinct values, smokes \(2 values\).*leave them out: ,drop=smokes"):
        data = load(f"csv:{path}")
    assert "few distinct values in smokes (2 values)" in data.protocol and data.domain == REAL
    assert load(f"csv:{path},drop=smokes").shape == (2,)


@pytest.mark.parametrize(("top", "domain"), [(2, BINARY), (256, Domain("levels", 256)), (200, REAL)])
def test_whole_numbers_of_a_table(top: int, domain: Domain, tmp_path: Path) -> None:
    """Pixels reach from 0 to 255; whole numbers that do not are counts."""
    values = RNG.integers(0, top, (200, 4))
    values[:2] = [[0] * 4, [top - 1] * 4]
    path = write(tmp_path / "t.csv", pd.DataFrame(values, columns=[*"abcd"]).to_csv(index=False))
    assert load(f"csv:{path}").domain == domain
    if top == 256:
        assert load(f"csv:{path},levels=no").domain == REAL
        assert load(f"csv:{path},binarise=threshold").domain == BINARY


def with_column(name: str, values: Any) -> str:
    return text(np.column_stack([X, values]), f"a,b,c,{name}")


CELLS = text().split("\n")
REFUSED = {
    "no such file": (None, "cannot be read as a table: no such file"),
    "empty": ("\n \n", "is empty; expected a line of names"),
    "names alone": ("a,b,c\n", "has names and no rows"),
    "one row": (text(X[:1]), "has 1 example; at least 5 are needed"),
    "not UTF-8": (text().encode() + "é,1,2\n".encode("latin1"), "is no text in UTF-8 .*save it so"),
    "UTF-16": (text().encode("utf-16"), "is no text in UTF-8"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(50), "is a spreadsheet or an archive"),
    "missing": (
        "\n".join([CELLS[0], CELLS[1], "1.0,,2.0", *CELLS[2:]]),
        "row 2 below the names of column b is missing, 1 of 41 rows",
    ),
    "infinite": ("\n".join([CELLS[0], "1.0,inf,2.0", *CELLS[1:]]), "row 1 below the names of column b is not finite"),
    "ragged": ("\n".join([*CELLS[:3], "1.0,2.0", *CELLS[3:]]), "lines of different numbers of cells"),
    "a late ragged line": (
        text(np.tile(X, (3, 1)) + RNG.normal(size=(120, 3))) + "1.0,2.0,3.0,4.0\n",
        "cannot be read as a table",
    ),
    "text": (
        "\n".join([CELLS[0] + ",city", *(f"{row},Rome" for row in CELLS[1:-1])]),
        r"no numbers: city \(row 1: 'Rome'\)",
    ),
    "twice a name": (text(header="a,b,a"), "2 columns named a; rename them"),
    "an index": (pd.DataFrame(X, columns=["a", "b", "c"]).to_csv(), "columns without a name, as an index has: #1"),
    "a constant": (with_column("d", np.ones(40)), "constant columns, d,"),
    "a copy": (with_column("d", X[:, 1]), "d is equal to b"),
    "other units": (with_column("d", 1.8 * X[:, 1] + 32), r"d is 1\.8 times, plus a constant, b"),
    "a total": (with_column("d", 2 * X[:, 0] + 3e-3 * X[:, 1] + 1), r"d follows from a, b \(a sum of multiples"),
    "half a header": (text(header="a,2020,c"), "has names and numbers"),
    "two readings": (
        "a;b,c;d\n" + "\n".join(f"{i};{i * i},{7 - i};{i % 3}" for i in range(40)),
        "columns that are no numbers|more than one way",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    content, says = REFUSED[case]
    path = tmp_path / "t.csv"
    if content is not None:
        write(path, content)
    with pytest.raises(SeedbedError, match=says) as caught:
        load(f"csv:{path}")
    assert "t.csv" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "case", ["missing", "text", "twice a name", "an index", "a constant", "a copy", "other units", "a total"]
)
def test_the_option_that_is_advised_mends_it(case: str, tmp_path: Path) -> None:
    content, _ = REFUSED[case]
    assert content is not None
    path = write(tmp_path / "t.csv", content)
    with pytest.raises(SeedbedError) as caught:
        load(f"csv:{path}")
    advised = str(caught.value).rpartition(",drop=")[2].partition(",")[0].strip()
    assert load(f"csv:{path},drop={advised}").shape in ((2,), (3,))


def test_columns_that_follow_from_several_others_are_named() -> None:
    """One of each set of shares is enough to leave out; columns that are nearly sums, or few rows, are none."""
    g = np.random.default_rng(1)
    kind, shares = np.eye(3)[g.integers(0, 3, 400)], g.dirichlet(np.ones(4), 400)
    x = np.column_stack([shares, g.normal(size=400), kind])
    names = ["wood", "coal", "oil", "gas", "price", "north", "mid", "south"]
    says = r"gas follows from wood, coal, oil; south follows from north, mid .*,drop=gas\+south$"
    with pytest.raises(SeedbedError, match=says):
        check_columns(x, names, "t.csv")
    with pytest.warns(UserWarning, match="few distinct values"):
        check_columns(np.delete(x, (3, 7), 1), [n for n in names if n not in ("gas", "south")], "t.csv")
    near = np.column_stack([shares[:, :3], shares[:, 3] + 1e-4 * g.normal(size=400)])
    assert not check_columns(near, names[:4], "t.csv")
    assert not check_columns(g.normal(size=(20, 30)), [str(i) for i in range(30)], "t.csv")


@pytest.mark.parametrize("header", ["yes", "no"])
def test_a_header_that_is_asked_for(header: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", text(header="2019,2020,2021"))
    assert len(read_table(path, header=header).splits["train"]) == (40 if header == "yes" else 41)


def test_a_million_columns_are_refused_at_once(tmp_path: Path) -> None:
    names = ",".join(f"c{i}" for i in range(1_000_000))
    path = write(tmp_path / "t.csv", f"{names}\n" + ("1," * 999_999 + "2\n") * 3)
    began = time.perf_counter()
    with pytest.raises(SeedbedError, match="has 1000000 columns; at most 4096 fit"):
        load(f"csv:{path}")
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (ImportError("no pyarrow"), "is Parquet, which takes the package pyarrow; install it, or save as CSV"),
        (OSError("Couldn't\ndeserialize thrift"), "cannot be read as Parquet: Couldn't deserialize thrift$"),
    ],
)
def test_parquet_that_cannot_be_read(raised: Exception, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> pd.DataFrame:
        raise raised

    monkeypatch.setattr(pd, "read_parquet", fails)
    path = write(tmp_path / "t.parquet", b"PAR1" + bytes(20))
    with pytest.raises(SeedbedError, match=says):
        load(f"csv:{path}")


def test_parquet_that_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known by its first bytes whatever it is called; columns, dropped ones and the split are those of any table."""
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(part=["train"] * 30 + ["val"] * 4 + ["test"] * 6)
    monkeypatch.setattr(pd, "read_parquet", lambda path: frame)
    path = write(tmp_path / "table", b"PAR1" + bytes(20))
    table = read_table(path, drop="b", split="part")
    assert table.names == ("a", "c") and np.array_equal(table.splits["test"], X[34:, [0, 2]])
    assert load(f"csv:{path},drop=b,split=part").shape == (2,)
    with pytest.raises(SeedbedError, match=r"no numbers: part .*,drop=part"):
        read_table(path)


def test_ordinary_tables_are_read_without_a_word(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(f"csv:{write(tmp_path / 't.csv', text())}")


def test_lines_of_old_macs_and_odd_files(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\r" + b"".join(b"%d.5,%d\r" % (i, i * i) for i in range(30)))
    assert read_table(path).splits["train"].shape == (30, 2)
    path.write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(SeedbedError, match="is empty"):
        read_table(path)
    with pytest.raises(SeedbedError, match="null byte"):
        read_table(tmp_path / "a\0b.csv")
    path.write_text("a,s\n1.5,train\n2.5,\n")
    with pytest.raises(SeedbedError, match="says nothing; a split is one of"):
        read_table(path, split="s")


def test_advice_holds_for_names_that_options_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('"a+b",c,d\n' + "".join(f"x,{i}.5,{i * i}\n" for i in range(30)))
    with pytest.raises(SeedbedError, match=r",drop=#1, or") as caught:
        read_table(path)
    drop = str(caught.value).split(",drop=")[1].split(",")[0]
    assert read_table(path, drop=drop).names == ("c", "d")
