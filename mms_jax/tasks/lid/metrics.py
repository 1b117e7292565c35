"""Evaluates identifiers on corpora; the figures as a table and a picture."""

import io
import pathlib
from typing import Any

import jax
import numpy as np
from absl import logging

from input_pipeline.decode import Batch
from mms_jax.errors import CorpusError
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks.base import Evaluation, EvaluationData, Result
from mms_jax.tasks.lid.scores import TOP, identification_scores
from mms_jax.text.language_list import LanguageList

FIGURES = ("accuracy", "macro_accuracy", f"top{TOP}")
_SHOWN = 10  # confusions in the table
_MOST_DRAWN = 80  # languages in the picture


def make_evaluation(
    model: FunctionalModel,
    languages: LanguageList,
    gathered: jax.sharding.Sharding,
    calibration: dict[str, float] | None,
) -> Evaluation:
    """A function that identifies the languages of corpora; see `identification_scores` for its result.

    Args:
      model: a Wav2Vec2ForIdentification.
      languages: in the order of its logits.
      gathered: the sharding of results that are fetched.
      calibration: see `identification_scores`.
    """

    def predict(params: Params, batch: Batch) -> dict[str, jax.Array]:
        logits = model.bind(params)(batch["waveforms"], batch["lengths"])
        return {"logits": logits, "item": batch["item"], "counted": batch["counted"]}

    jitted = jax.jit(predict, out_shardings=gathered)

    def evaluate(params: Params, data: EvaluationData) -> Result:
        found: dict[int, np.ndarray] = {}
        for batch in data.batches():
            out = jax.device_get(jitted(params, batch))
            for row in np.flatnonzero(out["counted"]):
                found[int(out["item"][row])] = out["logits"][row]
        if not found:
            raise CorpusError("none of the recordings of the evaluation could be decoded (named in the log above)")
        items = sorted(found)
        spoken = data.references(items)[1]
        truth = np.asarray([languages.language_index(language) for language in spoken])
        logits = np.stack([found[item] for item in items]).astype(np.float64)
        scores = identification_scores(logits, truth, spoken, languages.languages, calibration)
        return scores | {"undecodable": data.utterances - len(items)}

    return evaluate


def format_table(result: Result) -> str:
    """The figures as a table for people, in percent; and the most frequent confusions."""
    lines = [f"{'language':<10}{'accuracy %':>12}{'utterances':>12}"]
    for language, row in result["by_language"].items():
        lines.append(f"{language:<10}{100 * row['accuracy']:>12.1f}{row['utterances']:>12}")
    lines += [
        f"{'all':<10}{100 * result['accuracy']:>12.1f}{result['utterances']:>12}",
        f"mean over languages {100 * result['macro_accuracy']:.1f} %, "
        f"among the best {TOP} {100 * result[f'top{TOP}']:.1f} %, chance {100 * result['chance']:.1f} %",
        f"calibration: temperature {result['temperature']:.2f}, error {100 * result['calibration_error']:.1f} % before, "
        f"{100 * result['calibrated_error']:.1f} % after",
        f"unknown below a probability of {result['threshold']:.2f}: refuses {100 * result['false_reject']:.1f} % of the "
        f"right answers, accepts {100 * result['false_accept']:.1f} % of the wrong ones"
        + (f" ({result['unknown_languages']} in unknown languages)" if result["unknown_languages"] else ""),
    ]
    pairs = [(count, true, named) for true, row in result["confusions"].items() for named, count in row.items()]
    for count, true, named in sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:_SHOWN]:
        lines.append(f"  {true} taken for {named}: {count}")
    return "\n".join(lines)


def write_result(result: Result, folder: pathlib.Path) -> None:
    """Writes confusion.png: a row for each true language, shares of its recordings by named language.

    Nothing is drawn without matplotlib, or for more than eighty languages.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logging.info("no picture: it needs matplotlib, pip install 'mms-jax[plots]'")
        return
    true = sorted({*result["by_language"], *result["confusions"]})
    named = sorted({*result["by_language"], *(name for row in result["confusions"].values() for name in row)})
    if max(len(true), len(named)) > _MOST_DRAWN:
        return
    figure = Figure(figsize=(3 + 0.18 * len(named), 2 + 0.18 * len(true)), layout="constrained")
    axis: Any = figure.subplots()
    image = axis.imshow(100 * confusion_shares(result, true, named), cmap="Blues", vmin=0, vmax=100)
    axis.set_xticks(range(len(named)), named, rotation=90, fontsize=7)
    axis.set_yticks(range(len(true)), true, fontsize=7)
    axis.set(xlabel="named", ylabel="spoken")
    figure.colorbar(image, ax=axis, label="% of recordings", shrink=0.6)
    picture = io.BytesIO()  # the folder may be in a bucket
    figure.savefig(picture, format="png", dpi=110)
    (folder / "confusion.png").write_bytes(picture.getvalue())


def confusion_shares(result: Result, true: list[str], named: list[str]) -> np.ndarray:
    """float (true, named), the share of a language's recordings that each name was given to; rows sum to 1."""
    shares = np.zeros((len(true), len(named)))
    for row, language in enumerate(true):
        wrong = result["confusions"].get(language, {})
        scored = result["by_language"].get(language)
        total = scored["utterances"] if scored else sum(wrong.values())
        for name, count in wrong.items():
            shares[row, named.index(name)] = count / total
        if scored:
            shares[row, named.index(language)] = scored["accuracy"]
    return shares
