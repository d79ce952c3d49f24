"""What the service opens before it watches: the model, and its ledger, rebuilt where it is damaged or missing."""

from pathlib import Path
from typing import Final

from cxr_edge.classifier import Classifier, load
from cxr_edge.isolation.limits import IsolationLimits
from cxr_edge.watch.events import Fault, LedgerRebuilt, ModelLoaded, Notice, Observer
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger import Ledger, LedgerDamaged
from cxr_edge.watch.lock import LOCK_NAME
from cxr_edge.watch.rebuild import is_missing, rebuild
from cxr_edge.watch.settings import Settings

LEDGER_NAME: Final = "ledger.sqlite"


def load_model(settings: Settings, observer: Observer) -> Classifier:
    """The classifier that the settings ask for.

    Raises:
        ModelError, ContractError, ProviderError, EnvironmentUnusable: as `cxr_edge.load`.
        UsageError: heat maps are wanted of a model that has none, or for a label that it has not.
    """
    classifier = load(
        settings.model,
        provider=settings.provider,
        threads=settings.threads,
        gate=settings.gate,
        operating_point=settings.operating_point,
        isolation=IsolationLimits(),
    )
    for note in classifier.notices:
        observer.observe(Notice(note.code, note.message))
    if settings.heatmap:
        from cxr_edge.heatmap import check_heat_maps

        check_heat_maps(classifier.contract, settings.heatmap_label)
    observer.observe(ModelLoaded(classifier.model, classifier.execution_provider))
    return classifier


def open_ledger(folder: Path, keys: Keys, results: Path, observer: Observer, *, anew: bool) -> Ledger:
    """The ledger in the state folder; rebuilt from the results where it is damaged, or results stand without it.

    Args:
        folder: of the state.
        keys: of the ledger.
        results: folder of the results.
        observer: is told of a rebuilding.
        anew: it was found damaged.

    Raises:
        StateUnusable: the disk does not let it.
        OutboxUnavailable: the results cannot be read now.
    """
    path = folder / LEDGER_NAME
    missing = not anew and is_missing(path, results)
    if not anew and not missing:
        try:
            return Ledger.open(path, keys)
        except LedgerDamaged:
            pass
    observer.observe(Fault("ledger_missing" if missing else "ledger_damaged"))
    ledger = rebuild(path, keys, results, marker=LOCK_NAME)
    if ledger.rebuilt is not None:
        observer.observe(LedgerRebuilt(ledger.rebuilt.rows, ledger.rebuilt.skipped))
    return ledger
