"""The ledger of plans of the DeiT networks, and the tables made of it."""

import numpy as np
import pytest

from finn_vitprune.builds.experiments import deit, deit_tables
from finn_vitprune.builds.experiments.deit_models import DeitNetwork, MadeNetwork, ModelFolder, make
from finn_vitprune.builds.experiments.deit_plans import Answer, Found, Ledger, Question, answer_of, ask
from finn_vitprune.builds.experiments.deit_reference import CpuTiming
from finn_vitprune.builds.experiments.deit_tables import QUESTIONS, TableName
from finn_vitprune.errors import UserError
from finn_vitprune.synth.parts import get_part

CPU = CpuTiming("deit", "Some CPU", 2, "1.25", 50, median_ms=100.0, minimum_ms=80.0)


def answered(question, interval=46_000, fits=True, seconds=12.0):
    """An answer with made-up figures."""
    use = dict.fromkeys(("LUT", "DSP", "BRAM", "URAM"), 0.5)
    return Answer(
        key=question.key, network=question.network.name, part="xcu250-figd2104-2L-e", note="", heads=70, heads_dense=72,
        fits=fits, interval=interval, latency=900_000, used={k: 1000.0 for k in use}, shares=use, slrs=[use, use],
        binding="LUT of SLR1 (99% of its budget)", gap=0.01, seconds=seconds,
    )


def rows_of(table):
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_shares_of_a_plan_are_those_of_the_part_and_of_each_slr():
    part = get_part("U250")
    used = np.array([[108_000, 768, 0, 0], [216_000, 0, 0, 320], [0, 0, 134.4, 0], [0, 0, 0, 0]], float)
    room = np.array([[302_400, 2611, 1075, 272]] * 4, float)
    made = MadeNetwork("n", (6, 5), 12, (8, 8), (197, 197), 1, 2, 10, {})
    plan = Found(50_000, used, room, 0.01)
    question = QUESTIONS[TableName.SMALL][0]
    answer = answer_of(question, made, part, plan, latency=900_000, seconds=3.21)
    # 1,728,000 LUT, 12,288 DSP, 5,376 RAMB18 and 1,280 URAM in all, a quarter in each SLR
    assert answer.shares == pytest.approx({"LUT": 324 / 1728, "DSP": 1 / 16, "BRAM": 0.025, "URAM": 0.25}, abs=1e-4)
    assert answer.slrs[0] == pytest.approx({"LUT": 0.25, "DSP": 0.25, "BRAM": 0, "URAM": 0}, abs=1e-4)
    assert answer.slrs[2] == pytest.approx({"LUT": 0, "DSP": 0, "BRAM": 0.1, "URAM": 0}, abs=1e-4)
    assert answer.binding == "URAM of SLR1 (118% of its budget)"
    assert not answer.fits and answer.heads == 11 and answer.rate == 6000 and answer.milliseconds == 3.0


def test_a_resource_that_the_part_has_none_of_binds():
    part = get_part("ZCU102")
    plan = Found(1, np.array([[1.0, 1, 1, 7]]), np.array([[100.0, 100, 100, 0]]), 0.0)
    made = MadeNetwork("n", (6,), 6, (8,), (197,), 1, 2, 10, {})
    assert answer_of(QUESTIONS[TableName.SMALL][0], made, part, plan, 1, 0.0).binding == "URAM: 7 needed, none there"


def test_what_the_ledger_has_is_not_asked_again(tmp_path):
    first, second = QUESTIONS[TableName.SMALL][:2]
    ledger = Ledger.load(tmp_path / "ledger.json")
    assert [q.key for q in ledger.missing((first, second, first))] == [first.key, second.key]
    ledger.add(answered(first))
    ledger.time_of_cpu(CPU)
    again = Ledger.load(tmp_path / "ledger.json")
    assert again == ledger and list(again.missing((first, second))) == [second]
    other = Question(first.network, first.part, "xdma")
    assert list(again.missing((other,))) == [other], "another shell is another question"


def test_networks_that_are_not_made_are_named(tmp_path):
    question = QUESTIONS[TableName.REFERENCE][0]
    with pytest.raises(UserError, match=f"{question.network.name} is not in .* make it with the command models"):
        ask(question, ModelFolder(tmp_path))


def test_a_made_network_is_planned_within_its_budget(small_deit, tmp_path):
    network = DeitNetwork("deit_test_patch16_224", 8, 16, "0.5", "0.5")
    folder = ModelFolder(tmp_path)
    make(network, folder)
    answer = ask(Question(network, "ZCU104"), folder)
    # 230,400 LUT, 1,728 DSP, 624 RAMB18, 96 URAM
    assert answer.fits and answer.part == "xczu7ev-ffvc1156-2-e" and answer.heads_dense == 4
    assert answer.shares["LUT"] == pytest.approx(answer.used["LUT"] / 230_400, abs=1e-4) and 0 < answer.shares["LUT"] <= 0.7
    assert answer.shares["DSP"] <= 0.85 and answer.shares["BRAM"] <= 0.8
    assert answer.latency > answer.interval > 0, "an image alone waits for whole frames of keys"
    none = ask(Question(network, "ZCU104", budget=(("LUT", 1e-3), ("DSP", 0.85), ("BRAM", 0.8), ("URAM", 0.85))), folder)
    assert not none.fits and none.binding.startswith("LUT") and none.interval > answer.interval


def test_the_command_goes_on_where_it_stopped(tmp_path, monkeypatch):
    asked, stop_at = [], [2]

    def ask_some(question, folder):
        if len(asked) in stop_at:
            raise KeyboardInterrupt
        asked.append(question)
        return answered(question)

    monkeypatch.setattr(deit, "ask", ask_some)
    monkeypatch.setattr(deit, "time_float", lambda threads, runs: pytest.fail("that table needs no processor"))
    with pytest.raises(KeyboardInterrupt):
        deit.tables(tmp_path / "models", tmp_path, only=[TableName.SMALL], workers=0)
    assert len(Ledger.load(tmp_path / "ledger.json").answers) == 2, "what was planned is kept"
    stop_at.clear()
    deit.tables(tmp_path / "models", tmp_path, only=[TableName.SMALL], workers=0)
    assert asked == list(QUESTIONS[TableName.SMALL])
    assert "6,522" in (tmp_path / "RESULTS.md").read_text()


def test_tables_ask_every_network_and_part_of_the_issue():
    counts = [len({q.key for q in QUESTIONS[table]}) for table in TableName]
    assert counts == [3, 14, 2 * 2 * 2 * 6]
    assert all(get_part(q.part) for questions in QUESTIONS.values() for q in questions)
    assert len(deit.networks([TableName.SMALL, TableName.PARTS])) == 3 + 8 - 2, "two are in both"


def test_the_reference_table_compares_rates_and_counts_the_rows_that_are_fast_enough():
    questions = QUESTIONS[TableName.REFERENCE]
    ledger = Ledger(None, {q.key: answered(q, 80_000) for q in questions[:-1]}, CPU)
    table = deit_tables.reference_table(ledger)
    row = rows_of(table)["16, 0.5, 0.5"]
    # 300 MHz / 80,000 = 3,750 img/s; the reference has 1,151.6; the shortest run of 80 ms is 12.5 img/s
    assert (row["img/s"], row["ratio"], row["times onnxruntime"]) == ("3,750", "3.3", "300")
    assert (row["heads"], row["heads (ref.)"], row["latency, ms"], row["ms (ref.)"]) == ("70/72", "66/72", "3.00", "0.868")
    assert "Least ratio of the rates: 3.3. At least 4 in 12 of 14 rows" in table.note and "median 100.0 ms of 50 runs" in table.note
    fast = Ledger(None, {q.key: answered(q, 60_000) for q in questions})
    # 5,000 img/s over 1,151.6
    assert "rates: 4.3. At least 4 in 14 of 14 rows" in deit_tables.reference_table(fast).note
    unfit = Ledger(None, {q.key: answered(q, 60_000, fits=q is not questions[0]) for q in questions[:3]}, CPU)
    assert "At least 4 in 2 of 14 rows" in deit_tables.reference_table(unfit).note
    row = rows_of(deit_tables.reference_table(unfit))["16, 1, 1"]
    assert (row["img/s"], row["ratio"], row["times onnxruntime"]) == ("", "", "")


def test_the_table_of_parts_has_no_rate_where_nothing_fits():
    question = {q.part: q for q in QUESTIONS[TableName.PARTS]}
    ledger = Ledger(None, {q.key: answered(q, fits=q.part == "VCK190") for q in (question["ZCU104"], question["VCK190"])})
    rows = {row[2]: dict(zip(deit_tables.parts_table(ledger).columns, row)) for row in deit_tables.parts_table(ledger).rows}
    assert (rows["ZCU104"]["fits"], rows["ZCU104"]["img/s"]) == ("no", "")
    assert (rows["VCK190"]["fits"], rows["VCK190"]["img/s"], rows["VCK190"]["note"]) == ("yes", "6,522", "dsp48e2 retargeted, not checked")
