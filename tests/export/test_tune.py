"""The search for hyper-parameters: bounded, gone on with, and refused at once where it can lead nowhere."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

from recipes import LAYERS, recipe_of
from training_runs import Watching, recipe_file, request

from cxr_edge.errors import OutputError, UsageError
from cxr_edge_export.recipe import read_recipe
from cxr_edge_export.training.network import build
from cxr_edge_export.training.run_folder import RunFolder
from cxr_edge_export.training.space import read_space
from cxr_edge_export.training.train import train
from cxr_edge_export.training.tune import TuneRequest, trial_row, tune

SPACE = """
trials = 3
monitor = "auc"

[[parameters]]
path = "training.stages.0.learning_rate"
low = 1e-3
high = 1e-1
log = true

[[parameters]]
path = "network.layers.0.filters"
choices = [4, 8]
"""


def test_tuning_is_bounded_goes_on_and_writes_a_recipe(tmp_path: Path, data: Path) -> None:
    plan = {"stages": [{"epochs": 2, "batch": 8, "learning_rate": 0.01}]}
    recipe, space = recipe_file(tmp_path, training=plan), tmp_path / "space.toml"
    recipe.write_text("# kept\n" + recipe.read_text(encoding="utf-8"), encoding="utf-8")
    space.write_text(SPACE, encoding="utf-8")
    tuning = TuneRequest(base=request(recipe, data, tmp_path / "search"), space=space)
    with pytest.raises(KeyboardInterrupt):
        tune(tuning, Watching(stop_after=40))
    space.write_text(SPACE.replace('"auc"', '"cross_entropy"'), encoding="utf-8")
    with pytest.raises(UsageError, match="begun with another monitor; it cannot"):
        tune(tuning, Watching())
    space.write_text(SPACE.replace("trials = 3", "trials = 2"), encoding="utf-8")
    with pytest.raises(UsageError, match="begun with another seed; it cannot"):
        tune(replace(tuning, base=replace(tuning.base, seed=9)), Watching())
    space.write_text(SPACE, encoding="utf-8")
    rows = tune(tuning, Watching())
    assert len(rows) == 3
    study = [json.loads(line) for line in (tmp_path / "search" / "study.journal").read_text().splitlines()]
    rates = [entry["param_value_internal"] for entry in study if "learning_rate" in str(entry.get("param_name"))]
    assert len(set(rates)) == len(rates) == 4, "what the killed trial drew is not drawn again"
    best = max((row for row in rows if row.figure is not None), key=lambda row: row.figure or 0)
    tuned = read_recipe(tmp_path / "search" / "recipe.toml")
    assert tuned.text.startswith("# kept\n")
    assert tuned.recipe.training is not None
    assert tuned.recipe.training.stages[0].learning_rate == best.values["training.stages.0.learning_rate"]
    with pytest.raises(OutputError, match="exists already; take another folder"):
        tune(tuning, Watching())


def test_a_trial_given_up_has_no_figure() -> None:
    """Optuna keeps the last epoch's as its value."""
    import optuna

    states = optuna.trial.TrialState
    found = [trial_row(optuna.create_trial(state=state, value=0.4)) for state in (states.COMPLETE, states.PRUNED)]
    assert [row.figure for row in found] == [0.4, None]


@pytest.mark.slow
def test_trials_that_diverge_are_given_up(tmp_path: Path, data: Path) -> None:
    plan = {"optimizer": "sgd", "stages": [{"epochs": 1, "batch": 8, "learning_rate": 0.01}]}
    recipe, space = recipe_file(tmp_path, training=plan), tmp_path / "space.toml"
    rate = '[[parameters]]\npath = "training.stages.0.learning_rate"\nchoices = {}\n'
    space.write_text("trials = 4\nseed = 2\n" + rate.format("[0.01, 1e30]"), encoding="utf-8")
    rows = tune(TuneRequest(base=request(recipe, data, tmp_path / "search"), space=space), Watching())
    figures = {row.values["training.stages.0.learning_rate"]: row.figure for row in rows}
    assert figures[1e30] is None
    assert figures[0.01] is not None
    space.write_text("trials = 1\n" + rate.format("[1e30, 1e31]"), encoding="utf-8")
    with pytest.raises(UsageError, match="of 1 trials none came to its end"):
        tune(TuneRequest(base=request(recipe, data, tmp_path / "none"), space=space), Watching())


def test_a_balance_that_the_images_do_not_allow_ends_its_trial_alone(tmp_path: Path, data: Path) -> None:
    plan = {"balance": "none", "stages": [{"epochs": 1, "batch": 8, "learning_rate": 0.01}]}
    recipe, space = recipe_file(tmp_path, training=plan), tmp_path / "space.toml"
    choices = '[[parameters]]\npath = "training.balance"\nchoices = ["class-and-border-weights", "none"]\n'
    space.write_text("trials = 3\nseed = 1\n" + choices, encoding="utf-8")
    rows = tune(TuneRequest(base=request(recipe, data, tmp_path / "search"), space=space), Watching())
    pruned = [row.values["training.balance"] != "none" for row in rows]
    assert any(pruned)
    assert not all(pruned)
    assert [row.figure is None for row in rows] == pruned


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("network.layers.0.filters", "network.layers.9.filters", "does not hold network.layers.9.filters"),
        ("network.layers.0.filters", "network.layers.0.filter", "does not hold network.layers.0.filter;"),
        ("choices = [4, 8]", "choices = []", "needs choices, or low below high"),
        ("low = 1e-3", "low = 0.0", "above 0 with log"),
        ("choices = [4, 8]", 'choices = ["many"]', "not valid"),
        ("trials = 3", "trails = 3", "trails"),
        ("network.layers.0.filters", "training.stages.0.learning_rate", "twice"),
        ("network.layers.0.filters", "selection.seed", "cannot be searched"),
        ("high = 1e-1", "high = inf", "needs choices, or low below high"),
        ("choices = [4, 8]", "low = 2\nhigh = 1e400", "needs choices, or low below high"),
        ("choices = [4, 8]", "choices = [4, -8]", "not valid"),
        (
            'path = "network.layers.0.filters"\nchoices = [4, 8]',
            'path = "training.stages.1.warmup_epochs"\nlow = 0\nhigh = 12',
            "warms up",
        ),
    ],
)
def test_a_space_that_fits_no_recipe_is_refused(tmp_path: Path, data: Path, old: str, new: str, words: str) -> None:
    space = tmp_path / "space.toml"
    space.write_text(SPACE.replace(old, new), encoding="utf-8")
    base = request(recipe_file(tmp_path), data, tmp_path / "search")
    with pytest.raises(UsageError, match=words):
        tune(TuneRequest(base=base, space=space), Watching())


def test_a_space_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for text in (
        "a = " + "[" * 5000,
        f'trials = 1\n[[parameters]]\npath = "training.seed"\nlow = 1\nhigh = 1{"0" * 400}',
    ):
        (tmp_path / "space.toml").write_text(text, encoding="utf-8")
        with pytest.raises(UsageError):
            read_space(tmp_path / "space.toml")


def test_two_searches_do_not_share_a_folder(tmp_path: Path, data: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text(
        'trials = 1\n[[parameters]]\npath = "training.stages.0.learning_rate"\nchoices = [0.1, 0.2]\n', encoding="utf-8"
    )
    asked = TuneRequest(base=request(recipe_file(tmp_path), data, tmp_path / "search"), space=space)
    with RunFolder(tmp_path / "search").held(), pytest.raises(UsageError, match="another process works in"):
        tune(asked, Watching())


def test_a_damaged_journal_is_told_in_a_line(tmp_path: Path, data: Path) -> None:
    space, folder = tmp_path / "space.toml", tmp_path / "search"
    space.write_text(
        'trials = 1\n[[parameters]]\npath = "training.stages.0.learning_rate"\nchoices = [0.1, 0.2]\n', encoding="utf-8"
    )
    folder.mkdir()
    (folder / "study.journal").write_text('{"op_code": 0, "worker_id": "a"{"op_code": 2}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"study\.journal is damaged"):
        tune(TuneRequest(base=request(recipe_file(tmp_path), data, folder), space=space), Watching())


def test_a_space_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(SPACE, encoding="utf-8-sig")  # as PowerShell 5 writes it
    assert read_space(tmp_path / "space.toml").trials == 3


@pytest.mark.slow
def test_values_that_go_alone_and_not_together_end_a_trial_and_not_the_search(tmp_path: Path, data: Path) -> None:
    stage = {"epochs": 2, "batch": 8, "learning_rate": 0.01, "warmup_epochs": 0}
    recipe, space = recipe_file(tmp_path, training={"stages": [stage]}), tmp_path / "space.toml"
    pair = '[[parameters]]\npath = "training.stages.0.{}"\nchoices = {}\n'
    space.write_text(
        "trials = 6\nseed = 1\n" + pair.format("epochs", "[1, 2]") + pair.format("warmup_epochs", "[0, 1]"),
        encoding="utf-8",
    )
    rows = tune(TuneRequest(base=request(recipe, data, tmp_path / "search"), space=space), Watching())
    clash = [row.values == {"training.stages.0.epochs": 1, "training.stages.0.warmup_epochs": 1} for row in rows]
    assert any(clash)
    assert not all(clash)
    assert [row.figure is None for row in rows] == clash
    assert not list((tmp_path / "search").rglob("checkpoint.npz"))


def test_a_search_goes_on_after_a_power_cut_tore_its_last_line(tmp_path: Path, data: Path) -> None:
    plan = {"stages": [{"epochs": 1, "batch": 8, "learning_rate": 0.01}]}
    recipe, space = recipe_file(tmp_path, training=plan), tmp_path / "space.toml"
    space.write_text(
        'trials = 2\n[[parameters]]\npath = "training.stages.0.batch"\nchoices = [4, 8]\n', encoding="utf-8"
    )
    tuning = TuneRequest(base=request(recipe, data, tmp_path / "search"), space=space)
    with pytest.raises(KeyboardInterrupt):
        tune(tuning, Watching(stop_after=20))
    journal = tmp_path / "search" / "study.journal"
    journal.write_bytes(journal.read_bytes()[:-5])
    assert len(tune(tuning, Watching())) == 2


@pytest.mark.parametrize(
    ("path", "choices", "named"),
    [
        pytest.param("training.stages.0.batch", [4, 8], "named.weights.h5", marks=pytest.mark.slow),
        ("network.weights", ["searched.weights.h5"], "searched.weights.h5"),
    ],
    ids=["the original's", "searched for"],
)
def test_the_tuned_recipe_finds_its_weights(
    tmp_path: Path, data: Path, path: str, choices: list[object], named: str
) -> None:
    network, stage = {"layers": LAYERS, "weights": "named.weights.h5"}, {"epochs": 1, "batch": 8, "learning_rate": 0.01}
    recipe, space = recipe_file(tmp_path, network=network, training={"stages": [stage]}), tmp_path / "space.toml"
    for name in ("named.weights.h5", "searched.weights.h5"):
        built = build(recipe_of(network={"layers": LAYERS}, training={"stages": [stage]}), tmp_path)
        built.model.save_weights(tmp_path / name)
    space.write_text(
        f"trials = 1\n[[parameters]]\npath = {json.dumps(path)}\nchoices = {json.dumps(choices)}\n", encoding="utf-8"
    )
    tune(TuneRequest(base=request(recipe, data, tmp_path / "search"), space=space), Watching())
    tuned = tmp_path / "search" / "recipe.toml"
    found = read_recipe(tuned).recipe.network
    assert found is not None
    assert (tuned.parent / found.weights).resolve() == (tmp_path / named).resolve()
    assert train(request(tuned, data, tmp_path / "again"), Watching()).weights.startswith("sha256:")


@pytest.mark.slow
def test_layers_that_do_not_fit_are_refused_at_once_or_end_their_trial_alone(tmp_path: Path, data: Path) -> None:
    pools = [{"kind": "max-pool", "size": 2}] * 2
    layers = [{"kind": "conv", "filters": 4}, *pools, {"kind": "conv", "filters": 4}, {"kind": "global-average-pool"}]
    stage = {"epochs": 1, "batch": 8, "learning_rate": 0.01}
    recipe, space = recipe_file(tmp_path, network={"layers": layers}, training={"stages": [stage]}), tmp_path / "s.toml"
    size = '[[parameters]]\npath = "network.layers.{}.size"\nchoices = {}\n'
    space.write_text("trials = 1\n" + size.format(1, "[2, 64]"), encoding="utf-8")
    watching = Watching()
    with pytest.raises(UsageError, match="stage 1, of 48 pixels: the network of the recipe cannot be built"):
        tune(TuneRequest(base=request(recipe, data, tmp_path / "none"), space=space), watching)
    assert watching.calls == 0
    space.write_text("trials = 6\nseed = 3\n" + size.format(1, "[2, 12]") + size.format(2, "[2, 12]"), encoding="utf-8")
    rows = tune(TuneRequest(base=request(recipe, data, tmp_path / "search"), space=space), Watching())
    impossible = [set(row.values.values()) == {12} for row in rows]
    assert any(impossible)
    assert [row.figure is None for row in rows] == impossible


def test_the_tuned_recipe_begins_as_the_search_did(tmp_path: Path, data: Path) -> None:
    network, stage = {"layers": LAYERS}, {"epochs": 1, "batch": 8, "learning_rate": 0.01}
    recipe, space = recipe_file(tmp_path, network=network, training={"stages": [stage]}), tmp_path / "space.toml"
    weights = tmp_path / "given.weights.h5"
    build(recipe_of(network=network, training={"stages": [stage]}), tmp_path).model.save_weights(weights)
    space.write_text('trials = 1\n[[parameters]]\npath = "training.stages.0.batch"\nchoices = [8]\n', encoding="utf-8")
    for name, given, expected in (("file", str(weights), weights.resolve()), ("random", "random", None)):
        base = request(recipe, data, tmp_path / name, seed=5, weights=given)
        tune(TuneRequest(base=base, space=space), Watching())
        found = read_recipe(tmp_path / name / "recipe.toml").recipe
        assert found.training is not None
        assert found.network is not None
        assert found.training.seed == 5
        if expected is None:
            assert found.network.weights == "random"
        else:
            assert (tmp_path / name / found.network.weights).resolve() == expected
