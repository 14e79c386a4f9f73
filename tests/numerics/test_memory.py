"""How much memory the process may use, as the system says it."""

import braggscale.numerics.memory as memory


def test_it_is_a_positive_number_of_at_most_what_the_machine_has():
    assert 0 < memory.usable_memory() <= memory._installed()


def limits(tmp_path, monkeypatch, lines, files):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    process = tmp_path / "process"
    process.write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(memory, "_PROCESS", str(process))
    monkeypatch.setattr(memory, "_GROUPS", str(tmp_path))
    return min(memory._of_groups())


def test_the_least_limit_of_the_groups_counts(tmp_path, monkeypatch):
    files = {"jobs/one/memory.max": "max\n", "jobs/memory.max": "3000000000\n", "memory.max": "max\n"}
    assert limits(tmp_path, monkeypatch, ["0::/jobs/one"], files) == 3_000_000_000


def test_groups_of_version_1(tmp_path, monkeypatch):
    files = {"memory/job/memory.limit_in_bytes": "2000000000\n", "memory/memory.limit_in_bytes": f"{1 << 63}\n"}
    assert limits(tmp_path, monkeypatch, ["9:cpu:/", "4:memory:/job", "0::/"], files) == 2_000_000_000


def test_without_groups_there_is_no_limit(tmp_path, monkeypatch):
    assert limits(tmp_path, monkeypatch, ["nonsense"], {}) == memory.NO_LIMIT
