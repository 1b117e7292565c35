"""The shipped corpus's chapters as a user's files, aligned and cut into a corpus, and the errors of the aligner on them."""

import json
import pathlib

import tensorflow_datasets as tfds

from input_pipeline.corpora.alignments import read_records
from input_pipeline.corpora.spoken_phrases import is_labeled
from input_pipeline.corpora.storage import as_text, corpus_directory
from launch.steps import Steps
from mms_jax.alignment.boundaries import boundary_errors
from mms_jax.errors import AlignmentError
from mms_jax.files import write_json

TIMES = "exact_times.json"
MIN_SCORE = -1.0  # a tiny aligner gives lower scores than MMS's, whose threshold is -0.2


def write_chapters(data: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Writes the unlabeled training chapters: FOLDER/LANGUAGE/CHAPTER.flac and .txt, and their exact times.

    Args:
      data: holds the prepared corpus spoken_phrases/chapters.
      folder: the target folder.

    Returns:
      The languages.
    """
    builder = tfds.builder_from_directory(corpus_directory("spoken_phrases/chapters", data))
    times = {}
    for record in builder.as_data_source("train"):
        name, language = as_text(record["id"]), as_text(record["language"])
        if is_labeled(name):
            continue
        (folder / language).mkdir(parents=True, exist_ok=True)
        (folder / language / f"{name}.flac").write_bytes(record["audio"])
        (folder / language / f"{name}.txt").write_text(as_text(record["text"]) + "\n", encoding="utf-8")
        times[f"{language}/{name}"] = [list(map(float, record[edge])) for edge in ("starts", "ends")]
    write_json(folder / TIMES, times)  # last: where it is, the folder is complete
    return sorted({name.partition("/")[0] for name in times})


def align_chapters(steps: Steps, name: str, chapters: pathlib.Path, model: pathlib.Path, aligned: pathlib.Path) -> None:
    """Aligns a folder of chapters, with one folder for each language. Chapters that are not believed are printed.

    Args:
      steps: runs the command.
      name: of its log.
      chapters: from `write_chapters`.
      model: the aligner.
      aligned: the target folder.

    Raises:
      AlignmentError: a chapter has no result.
    """
    arguments = ("mms_jax.cli", "align", str(chapters), str(chapters), "--lang", "folder", "--model", str(model))
    # The status is 1 also where a chapter is not believed; then it has a result, which the corpus leaves out.
    output = steps.command(name, *arguments, "--output-dir", str(aligned), accepted=(0, 1))
    names = json.loads((chapters / TIMES).read_text())
    if missing := [chapter for chapter in names if not (aligned / f"{chapter}.json").exists()]:
        raise AlignmentError(f"{len(missing)} chapters have no alignment, as {missing[0]}:\n{output[-2000:]}")
    if doubted := output.count("error: "):
        print(f"  {doubted} of {len(names)} chapters are not believed", flush=True)


def prepare_aligned(steps: Steps, name: str, aligned: pathlib.Path, *rules: str) -> None:
    """Cuts aligned chapters into the corpus aligned_chapters/NAME, all for training.

    Args:
      steps: runs the command.
      name: of the corpus.
      aligned: from `align_chapters`.
      rules: arguments that select verses.
    """
    steps.command(
        f"prepare_{name}", "input_pipeline.prepare", "aligned_chapters", f"--data_dir={steps.data}", f"--name={name}",
        f"--alignments={aligned}", "--splits=train", "--max_silence=0.1", "--workers=2", "--synthetic", *rules, show=True,
    )  # fmt: skip


def score_alignments(chapters: pathlib.Path, aligned: pathlib.Path) -> dict[str, float]:
    """Compares the verses that were found with the exact times.

    Args:
      chapters: from `write_chapters`.
      aligned: a folder of alignments, with one folder per language.

    Returns:
      median_ms and p95_ms of the absolute error over all starts and ends, within_200_ms as a share, verses, and lost: verses
      that are missing or more than a second off.
    """
    records = read_records(aligned)
    found = {name: [(verse["start"], verse["end"]) for verse in record["verses"]] for name, record in records.items()}
    exact = json.loads((chapters / TIMES).read_text())
    scores = boundary_errors(found, {name: list(zip(starts, ends)) for name, (starts, ends) in exact.items()})
    del scores["by_chapter"]
    return scores
