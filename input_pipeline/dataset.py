"""Makes plans and decoders from `config.input`."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from input_pipeline.corpora.storage import UNKNOWN_SPEAKER, Corpus, as_text, matching_corpora, open_corpus
from input_pipeline.decode import Decoder
from input_pipeline.plan import EvaluationPlan, TrainingPlan, sampling_weights
from input_pipeline.table import Table, format_left_out, make_table
from mms_jax.errors import ConfigError, CorpusError
from mms_jax.files import is_address
from mms_jax.text.normalize import normalize
from mms_jax.text.tokenizer import Tokenizer

FEWEST_UTTERANCES = 10  # of a language
FEWEST_ROWS = 10  # of a language in a run; with less, this is surely a mistake
SHORTEST_FRAME = 0.025  # seconds; shorter recordings have no frame


@dataclasses.dataclass(frozen=True)
class DataNeeds:
    """The requirements of a task on its data.

    Attributes:
      tokenizer: turns languages and transcripts into numbers; None for unlabeled speech.
      transcripts: whether batches hold labels, where there is a tokenizer; utterances without transcript are then left
        out. False for tasks that need no more than the language.
      crop: whether recordings longer than the last bucket are cropped in training; otherwise they are left out.
      speakers: names by number, where batches hold the speaker of each row; () where they do not.
      waveform_epsilon: added to the variance when waveforms are normalized; None leaves them as they were recorded. It
        equals the model's, so that training, evaluation and inference normalize in the same way.
    """

    tokenizer: Tokenizer | None = None
    transcripts: bool = True
    crop: bool = False
    speakers: tuple[str, ...] = ()
    waveform_epsilon: float | None = None

    @property
    def labels(self) -> Tokenizer | None:
        """The tokenizer, where transcripts become labels; otherwise None."""
        return self.tokenizer if self.transcripts else None


def open_corpora(names: Sequence[str], data_dir: str) -> list[Corpus]:
    """Opens "NAME:SPLIT" corpora, in order; "catalog/fleurs_*:test" stands for all that are prepared.

    Raises:
      CorpusError: a name without split, a corpus that is not prepared, or a folder in a bucket.
    """
    if is_address(data_dir):
        raise CorpusError(
            f"config.input.data_dir={data_dir}: shards are read from files, at random places; copy them to each host "
            f"(gcloud storage rsync --recursive {data_dir} data), or mount the bucket (gcsfuse)"
        )
    corpora = []
    for name in names:
        pattern, separator, split = name.partition(":")
        if not separator:
            raise CorpusError(f"config.input: corpus {name!r} names no split; write {name}:train")
        for corpus in matching_corpora(pattern, data_dir) if "*" in pattern else [pattern]:
            corpora.append(open_corpus(corpus, split, data_dir))
    return corpora


def corpus_alphabets(corpora: Sequence[Corpus]) -> dict[str, str]:
    """The characters of each language's transcripts, over all corpora, sorted."""
    alphabets: dict[str, str] = {}
    for corpus in corpora:
        for language, letters in corpus.index.alphabets.items():
            alphabets[language] = "".join(sorted(set(alphabets.get(language, "") + letters)))
    return alphabets


def corpus_speakers(corpora: Sequence[Corpus]) -> list[str]:
    """The speakers of all corpora, sorted. The same name in two corpora is the same speaker.

    Raises:
      CorpusError: two corpora have speakers without a name, who may be two people.
    """
    unnamed = {corpus.name.partition(":")[0] for corpus in corpora if UNKNOWN_SPEAKER in corpus.index.speakers}
    if len(unnamed) > 1:
        raise CorpusError(
            f"{' and '.join(sorted(unnamed))} do not name their speakers, who may be one person or two; prepare them from "
            "tables with a column speaker"
        )
    return sorted({speaker for corpus in corpora for speaker in corpus.index.speakers})


def check_speakers(corpora: Sequence[Corpus], speakers: Sequence[str]) -> None:
    """Raises CorpusError where a corpus has a speaker whom a voice of several does not know."""
    for corpus in corpora if speakers else ():
        if strangers := sorted(set(corpus.index.speakers) - set(speakers)):
            raise CorpusError(
                f"{corpus.name} is read by {', '.join(strangers[:5])}, whom this voice does not know; its speakers are "
                f"{', '.join(speakers)}"
            )


def training_data(
    config: ConfigDict, corpora: Sequence[Corpus], needs: DataNeeds, seed: int
) -> tuple[TrainingPlan, Decoder]:
    """The plan and decoder of a training run.

    Args:
      config: `config.input`.
      corpora: opened.
      needs: of the task.
      seed: of the order and the crops.
    """
    labels = needs.labels
    table = make_table(
        [corpus.index for corpus in corpora],
        buckets=tuple(config.bucket_seconds),
        min_seconds=config.min_seconds,
        crop=needs.crop,
        need_text=labels is not None,
        max_characters=config.max_characters,
        positions=labels.positions if labels is not None else int,
    )
    if missing := format_left_out(table):
        logging.warning("%s", missing)
    weights = sampling_weights(table, beta_corpus=config.beta_corpus, beta_language=config.beta_language)
    plan = TrainingPlan(
        table,
        weights,
        batch_seconds=config.batch_seconds,
        batch_rows=_checked_rows(config),
        rows_multiple=config.rows_multiple,
        seed=seed,
    )
    if (repeats := plan.repeats()) > 0.01:
        logging.warning(
            "%.0f %% of the rows repeat an utterance of their batch; lower config.input.batch_seconds, raise "
            "beta_corpus and beta_language, or add speech",
            100 * repeats,
        )
    return plan, _decoder(table, corpora, needs, seed=seed, noise=config.noise)


def warn_of_rare_languages(plan: TrainingPlan, updates: int) -> None:
    """Names the languages of which a run of so many updates hears next to nothing."""
    table = plan.table
    utterances = np.bincount(table.language, np.diff(table.firsts), len(table.languages)).astype(int)
    counts = dict(zip(table.languages, utterances.tolist()))
    if few := [language for language, count in counts.items() if count < FEWEST_UTTERANCES]:
        logging.warning(
            "%s: fewer than %d utterances; a language is not learned from them, whatever its share",
            ", ".join(f"{language} ({counts[language]})" for language in few), FEWEST_UTTERANCES,
        )  # fmt: skip
    rows = plan.rows_by_language(updates)
    if rare := [language for language, count in rows.items() if count < FEWEST_ROWS]:
        logging.warning(
            "%s: fewer than %d rows are drawn in %d updates, too few to learn a language; lower "
            "config.input.beta_language, raise config.total_steps, or add speech",
            ", ".join(f"{language} ({rows[language]:.2g})" for language in rare), FEWEST_ROWS, updates,
        )  # fmt: skip


def _checked_rows(config: ConfigDict) -> int:
    if config.batch_rows % config.rows_multiple:
        raise ConfigError(
            f"config.input.batch_rows={config.batch_rows} must be a multiple of config.input.rows_multiple="
            f"{config.rows_multiple}"
        )
    return config.batch_rows


def evaluation_data(config: ConfigDict, corpora: Sequence[Corpus], needs: DataNeeds) -> tuple[EvaluationPlan, Decoder]:
    """The plan and decoder of an evaluation: every utterance, whole, once.

    Args:
      config: `config.input`; buckets are added until the longest utterance fits.
      corpora: opened.
      needs: of the task.
    """
    check_speakers(corpora, needs.speakers)
    longest = max(float(corpus.index.seconds.max(initial=0.0)) for corpus in corpora)
    buckets = list(config.bucket_seconds)
    while buckets[-1] < longest:
        buckets.append(buckets[-1] * 2)
    labels = needs.labels
    table = make_table(
        [corpus.index for corpus in corpora],
        buckets=tuple(buckets),
        min_seconds=SHORTEST_FRAME,
        crop=False,
        need_text=labels is not None,
        positions=labels.positions if labels is not None else int,
    )
    plan = EvaluationPlan(table, batch_seconds=config.batch_seconds, rows_multiple=config.rows_multiple)
    return plan, _decoder(table, corpora, needs, seed=0)


def _decoder(
    table: Table, corpora: Sequence[Corpus], needs: DataNeeds, *, seed: int, noise: Sequence[float] = ()
) -> Decoder:
    return Decoder(
        table,
        [corpus.source for corpus in corpora],
        needs.tokenizer,
        transcripts=needs.labels is not None,
        epsilon=needs.waveform_epsilon,
        speakers=needs.speakers,
        seed=seed,
        noise=noise,
    )


def references(plan: EvaluationPlan, corpora: Sequence[Corpus], items: Sequence[int]) -> tuple[list[str], list[str]]:
    """The normalized transcripts and languages of some utterances of a plan."""
    found = plan.table.look_up(np.asarray(items, int))
    records = [corpora[corpus].source[int(record)] for corpus, record in zip(found.corpus, found.record)]
    languages = [as_text(record["language"]) for record in records]
    return [normalize(as_text(record["text"]), language) for record, language in zip(records, languages)], languages


def language_hours(corpora: Sequence[Corpus]) -> dict[str, float]:
    """Hours of audio by language, over all corpora."""
    hours: dict[str, float] = {}
    for corpus in corpora:
        for language, more in corpus.index.hours().items():
            hours[language] = hours.get(language, 0.0) + more
    return hours
