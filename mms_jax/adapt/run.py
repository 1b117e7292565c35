"""The steps of `mms-jax adapt`, each of which is done once: the same command continues after an interruption."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
from absl import logging
from ml_collections import ConfigDict

from mms_jax.adapt import banks, data, scores
from mms_jax.adapt.memory import format_memory, step_memory
from mms_jax.adapt.source import AUTO, FRESH, find_source
from mms_jax.checkpoint import FOLDER as CHECKPOINTS
from mms_jax.checkpoint import StoredModel, load_model, save_model
from mms_jax.config import default_config
from mms_jax.errors import InputError
from mms_jax.files import check_local, read_json, whole_folder, write_json
from mms_jax.inference.load import load
from mms_jax.interop import huggingface_export
from mms_jax.models.description import ENCODER
from mms_jax.models.wav2vec2.banks import only_banks
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.text.languages import check_code
from mms_jax.train import train

ADAPTER, ALL = "adapter", "all"
SETTINGS, REPORT = "adapt.json", "report.json"
TRIED = 12  # languages of which the best reader of the new one is sought
TRIED_UTTERANCES = 30
UNREADABLE = 0.9  # a CER above which a language is no good start
SMALL = 50e6  # parameters of a model whose extractor learns too: it has more to learn than to keep
_RATE, _SMALL_ADAPTER_RATE = 1e-3, 1e-2

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The arguments of `mms-jax adapt`.

    Attributes:
      model: any model that `mms_jax.load` takes.
      language: the new one, ISO 639-3, with an optional script or variant.
      data: see `mms_jax.adapt.data.open_speech`.
      data_dir: of prepared corpora.
      start: AUTO for the one of up to twelve loaded languages that reads the new one best, FRESH, or a language of the
        model.
      train: ADAPTER for adapter and head alone; ALL for every weight; "" for ADAPTER of a recognizer, ALL of an encoder.
      keep: languages of the model that the result keeps; None for all, of a repository for those it may start from.
      replace: whether the language may be one that the model has.
      width: of the adapters, where the model has none.
      learning_rate: of the run; None for Hugging Face's for MMS, 1e-3, and ten times that for the adapter and head of a
        small model, of which so few numbers learn.
      updates, batch_seconds, dtype, seed: of the run.
    """

    model: str
    language: str
    data: str
    data_dir: str = "data"
    start: str = AUTO
    train: str = ""
    keep: tuple[str, ...] | None = None
    replace: bool = False
    width: int = 16
    updates: int = 2000
    learning_rate: float | None = None
    batch_seconds: float = 48.0
    dtype: str = "float32"
    seed: int = 0


def adapt(settings: Settings, folder: pathlib.Path, say: Say = print) -> dict[str, Any]:
    """Adds a language to a model.

    FOLDER then holds the model (load FOLDER): with its languages and the new one, or with the new one alone where all
    weights learned. FOLDER/huggingface has adapter.LANG.safetensors and vocab.json for transformers, or the whole model
    where all weights learned; report.json the error rates.

    Args:
      settings: see Settings.
      folder: of all results.
      say: prints a line.

    Returns:
      The report: error rates before and after, the start, the part that learned.

    Raises:
      LanguageError: no language code, a language that the model has, or a start that it lacks. CorpusError: see
        `open_speech`. CheckpointError, ConversionError: see `mms_jax.load`. InputError: impossible settings, or a folder of
        another adaptation.
    """
    _check_settings(settings)
    check_local(folder)
    _check_folder(folder, settings)
    if (folder / REPORT).exists():
        report = read_json(folder / REPORT, InputError)
        say(format_report(report))
        return report
    source = find_source(settings.model, settings.language, settings.start, settings.keep)
    banks.check_new(source.known, settings.language, replace=settings.replace)
    stored, trained_part = source.stored, _trained_part(settings, source.stored, say)
    speech = data.open_speech(settings.data, settings.language, folder, settings.data_dir)
    write_json(folder / SETTINGS, _plain(settings))

    _describe_data(speech, stored, say)
    if stored.description["kind"] != ENCODER:
        stored = banks.as_bank(stored, settings.width)
    start, before = _choose_start(stored, settings, speech, say)
    _save_once(folder / "start", banks.starting_model(stored, settings.language, start), folder)
    config = run_config(settings, stored, speech, str(folder / "start"), trained_part)
    say(format_memory(step_memory(config)))
    logging.set_verbosity(logging.INFO)  # losses, and error rates on the validation split
    train(config, str(folder / "run"))
    logging.set_verbosity(logging.WARNING)

    best = load_model(f"{folder / 'run'}@best")
    whole = best if trained_part == ALL else banks.with_language(stored, settings.language, best)
    whole = dataclasses.replace(whole, step=best.step, params=banks.in_float32(whole.params))
    _save_once(folder, whole, folder)
    _write_for_transformers(whole, settings.language, folder / "huggingface", trained_part, source.symbols)
    after = scores.score(load(whole, kind="recognizer"), settings.language, speech.scored)  # type: ignore[arg-type]
    report = {
        "language": settings.language,
        "scored_on": speech.scored.name,
        "start": start or FRESH,
        "trained": trained_part,
        "best_step": best.step,
        "dev_cer": best.description["chosen"]["cer"],
        "before": before,
        "after": {name: after[name] for name in ("cer", "wer", "utterances")},
    }
    write_json(folder / REPORT, report)
    for whole_models in ("start", "run/checkpoints", "run/best"):  # of some gigabytes each; the result stays
        shutil.rmtree(folder / whole_models)
    say(format_report(report))
    return report


def _check_settings(settings: Settings) -> None:
    check_code(settings.language)
    for name in ("width", "updates", "learning_rate", "batch_seconds"):
        if getattr(settings, name) is not None and not getattr(settings, name) > 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(settings, name)}: give a number above 0")
    if settings.train == ALL and settings.keep is not None:
        raise InputError("--keep: with --train all, the result reads the new language alone; leave one of them out")


def _plain(settings: Settings) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def _check_folder(folder: pathlib.Path, settings: Settings) -> None:
    """Raises InputError where the folder is another adaptation's, or somebody's."""
    path, now = folder / SETTINGS, _plain(settings)
    if path.exists():
        stored = read_json(path, InputError)
        if changed := sorted(name for name in now if stored.get(name) != now[name]):
            told = ", ".join(f"{name} {stored.get(name)!r} there, {now[name]!r} now" for name in changed)
            raise InputError(
                f"--out {folder} holds another adaptation ({told}); repeat its arguments, or choose a new folder"
            )
    elif folder.is_file() or (folder.is_dir() and {child.name for child in folder.iterdir()} - data.OWN_FILES):
        raise InputError(f"--out {folder} holds something already; choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)


def _trained_part(settings: Settings, stored: StoredModel, say: Say) -> str:
    """ADAPTER or ALL, with a remark on what that means for this model."""
    encoder = stored.description["kind"] == ENCODER
    part = settings.train or (ALL if encoder else ADAPTER)
    if encoder and part == ADAPTER:
        say(
            "warning: an encoder has learned no text: with --train adapter, its weights stand still, and the CER stays high"
        )
    if not encoder and part == ALL:
        say(
            f"all weights learn: the result reads {settings.language} alone, and the model's other languages are left out"
        )
    return part


def _save_once(target: pathlib.Path, stored: StoredModel, folder: pathlib.Path) -> None:
    """Saves a model at TARGET unless it is there; it appears when it is complete."""
    if (target / CHECKPOINTS).exists():
        return
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    save_model(partial, stored)
    target.mkdir(exist_ok=True)
    (partial / CHECKPOINTS).rename(target / CHECKPOINTS)
    partial.rmdir()


def _write_for_transformers(
    whole: StoredModel, language: str, folder: pathlib.Path, trained_part: str, symbols: dict[str, dict[str, int]]
) -> None:
    """The files of the language; the whole model where no other has its backbone."""
    if trained_part == ADAPTER:
        huggingface_export.save_language(whole, language, folder, symbols)
        return
    shutil.rmtree(folder, ignore_errors=True)
    with whole_folder(folder) as empty:
        huggingface_export.save_folder(whole, empty)


def _describe_data(speech: data.Speech, stored: StoredModel, say: Say) -> None:
    for split, corpus in speech.splits.items():
        minutes, speakers = corpus.index.seconds.sum() / 60, len(corpus.index.speakers)
        say(f"{split:<11}{len(corpus.index):>6} recordings, {minutes:7.1f} minutes, speakers: {speakers}")
    learned = data.count_symbols(speech.splits["train"])
    for line in data.describe_symbols(learned):
        say(line)
    lacking = sorted(set(data.count_symbols(speech.scored)) - set(learned))
    if lacking:
        say(
            f"warning: {' '.join(lacking)} occur in {speech.scored.name}, but not in training: they are never recognized"
        )
    config = Wav2Vec2Config.from_json(stored.description["model"])
    if count := data.too_fast(speech.splits["train"], config.stride / 16_000):
        say(f"warning: {count} recordings are too short for their text, and teach nothing; do text and recording belong "
            "together?")  # fmt: skip


def _choose_start(
    stored: StoredModel, settings: Settings, speech: data.Speech, say: Say
) -> tuple[str | None, dict[str, Any] | None]:
    """The language to start from, and the error rates with which the model reads the new one as that."""
    known = banks.languages_of(stored)
    if not known:
        return None, None
    recognizer: Any = load(stored, kind="recognizer")
    if settings.start != AUTO:
        start = settings.start if settings.start != FRESH else None
        candidates = [start] if start else list(known[:1])
    else:
        related = [name for name in known if name.split("-")[0] == settings.language.split("-")[0]]
        candidates = list(dict.fromkeys([*related, *known]))[:TRIED]
        rates = scores.read_best(recognizer, candidates, speech.splits["validation"], TRIED_UTTERANCES)
        say("read as another language, CER: " + ", ".join(f"{name} {100 * rate:.0f} %" for name, rate in rates.items()))
        candidates = list(rates)
        start = candidates[0] if rates[candidates[0]] < UNREADABLE else None
    say(f"start: {start or 'a fresh adapter; symbols from any head that has them'}")
    before = scores.score(recognizer, candidates[0], speech.scored)
    return start, {"read_as": candidates[0]} | {name: before[name] for name in ("cer", "wer", "utterances")}


def run_config(
    settings: Settings, stored: StoredModel, speech: data.Speech, start: str, trained_part: str
) -> ConfigDict:
    """The experiment of the run; hyper-parameters of adapters are Hugging Face's recipe for MMS."""
    fields = {**stored.description["model"], "adapter_width": 0, "adapter_languages": 0, "shared_head": False}
    width = stored.description["model"].get("adapter_width") or settings.width
    config = default_config("asr")
    config.init_from, config.seed, config.compute_dtype = start, settings.seed, settings.dtype
    config.model.geometry = json.dumps(fields)
    config.adapters.width = width
    config.adapters.alone = trained_part == ADAPTER
    config.total_steps = settings.updates
    config.input.data_dir = speech.data_dir
    config.input.corpora = (f"{speech.name}:train",)
    config.input.dev_corpora = (f"{speech.name}:validation",)
    config.input.eval_corpora = (speech.scored.name,)
    config.input.bucket_seconds = (2.5, 4.0, 8.0, 12.0, 20.0, 30.0)
    config.input.min_seconds = 0.3
    config.input.batch_seconds = settings.batch_seconds
    config.input.rows_multiple = jax.device_count()
    config.input.beta_corpus = config.input.beta_language = 1.0
    config.masking.time_minimum = 0
    config.masking.time_probability = 0.0
    small = _size(stored) < SMALL
    if trained_part == ALL:
        _train_all(config, small)
    usual = _SMALL_ADAPTER_RATE if small and trained_part == ADAPTER else _RATE
    config.optimizer.learning_rate = usual if settings.learning_rate is None else settings.learning_rate
    config.optimizer.clip_norm = 1.0
    config.log_every = max(1, min(50, settings.updates // 10))
    config.eval_every = config.checkpoint.every = max(1, settings.updates // 20)
    config.checkpoint.best, config.checkpoint.keep = "cer", 1
    return config


def _train_all(config: ConfigDict, small: bool) -> None:
    """Masks and dropout as in asr_minutes. A small model learns as a whole at once, a large one as in fairseq."""
    config.model.dropout = config.model.activation_dropout = 0.1
    config.masking.time_probability = 0.3
    config.masking.channel_probability = 0.1
    config.masking.channel_length = 16
    if small:
        config.fine_tuning.freeze_extractor = False
        config.fine_tuning.freeze_backbone = 0.0
        config.optimizer.eps = 1e-6


def _size(stored: StoredModel) -> int:
    """Parameters without those of single languages."""
    whole, banked = (
        sum(int(leaf.size) for leaf in jax.tree.leaves(params)) for params in (stored.params, only_banks(stored.params))
    )
    return whole - banked


def format_report(report: dict[str, Any]) -> str:
    """Error rates before and after, for people."""
    lines = [f"{report['scored_on']:<34}{'CER %':>8}{'WER %':>8}{'utterances':>12}"]
    rows = [("after", report["after"])]
    if report["before"]:
        rows.insert(0, (f"before, read as {report['before']['read_as']}", report["before"]))
    for name, row in rows:
        lines.append(f"{name:<34}{100 * row['cer']:>8.2f}{100 * row['wer']:>8.2f}{row['utterances']:>12}")
    lines.append(f"best step {report['best_step']}, dev CER {100 * report['dev_cer']:.2f} %, start: {report['start']}")
    return "\n".join(lines)
