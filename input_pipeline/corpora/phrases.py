"""The sentences of the shipped corpus: the project's own phrases in eight languages and four scripts.

Each language has four lists whose entries combine freely into a correct sentence (subject, verb, object, ending), so
a few dozen words give well over a thousand sentences. Numbers are spelled out by num2words where it supports the
language. The sentences are in lower case and without punctuation, as a recognizer's transcripts are.
"""

import dataclasses

import numpy as np
from num2words import num2words

from mms_jax.text.normalize import normalize


@dataclasses.dataclass(frozen=True)
class Phrases:
    """The material of one language.

    Attributes:
      espeak: the eSpeak NG voice that reads it.
      num2words: the num2words language that spells its numbers, or None where num2words has none.
      subjects, verbs, objects, endings: fragments; one of each, joined by spaces in that order, is a sentence.
        `verb_last` is set where the language puts the object before the verb.
    """

    espeak: str
    num2words: str | None
    subjects: tuple[str, ...]
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    endings: tuple[str, ...]
    verb_last: bool = False


PHRASES: dict[str, Phrases] = {
    "eng": Phrases(
        espeak="en",
        num2words="en",
        subjects=("my sister", "the old farmer", "our teacher", "the young doctor", "every child", "the fisherman"),
        verbs=("finds", "remembers", "brings", "sees", "keeps", "wants"),
        objects=(
            "a small boat",
            "the red book",
            "fresh bread",
            "the long road",
            "some water",
            "a good story",
            "the white horse",
            "two letters",
        ),
        endings=("today", "in the morning", "near the river", "after the rain", "with great joy", "before winter"),
    ),
    "spa": Phrases(
        espeak="es",
        num2words="es",
        subjects=("mi hermana", "el viejo granjero", "nuestra maestra", "el joven médico", "cada niño", "el pescador"),
        verbs=("encuentra", "recuerda", "trae", "mira", "guarda", "quiere"),
        objects=(
            "un barco pequeño",
            "el libro rojo",
            "pan fresco",
            "el largo camino",
            "un poco de agua",
            "una buena historia",
            "el caballo blanco",
            "dos cartas",
        ),
        endings=(
            "hoy",
            "por la mañana",
            "cerca del río",
            "después de la lluvia",
            "con mucha alegría",
            "antes del invierno",
        ),
    ),
    "ind": Phrases(
        espeak="id",
        num2words="id",
        subjects=("kakak saya", "petani tua itu", "guru kami", "dokter muda itu", "setiap anak", "nelayan itu"),
        verbs=("menemukan", "mengingat", "membawa", "melihat", "menyimpan", "mencari"),
        objects=(
            "perahu kecil",
            "buku merah",
            "roti segar",
            "jalan panjang",
            "sedikit air",
            "cerita yang baik",
            "kuda putih",
            "dua surat",
        ),
        endings=("hari ini", "di pagi hari", "di dekat sungai", "setelah hujan", "dengan gembira", "sebelum malam"),
    ),
    "tur": Phrases(
        espeak="tr",
        num2words="tr",
        subjects=("kız kardeşim", "yaşlı çiftçi", "öğretmenimiz", "genç doktor", "her çocuk", "balıkçı"),
        verbs=("buluyor", "hatırlıyor", "getiriyor", "görüyor", "saklıyor", "istiyor"),
        objects=(
            "küçük bir tekne",
            "kırmızı kitabı",
            "taze ekmek",
            "uzun yolu",
            "biraz su",
            "güzel bir hikâye",
            "beyaz atı",
            "iki mektup",
        ),
        endings=("bugün", "sabahleyin", "nehrin yanında", "yağmurdan sonra", "büyük bir sevinçle", "kıştan önce"),
        verb_last=True,
    ),
    "swh": Phrases(
        espeak="sw",
        num2words=None,
        subjects=("dada yangu", "mkulima mzee", "mwalimu wetu", "daktari kijana", "kila mtoto", "mvuvi"),
        verbs=("anapata", "anakumbuka", "analeta", "anaona", "anatunza", "anataka"),
        objects=(
            "mashua ndogo",
            "kitabu chekundu",
            "mkate mpya",
            "njia ndefu",
            "maji kidogo",
            "hadithi nzuri",
            "farasi mweupe",
            "barua mbili",
        ),
        endings=("leo", "asubuhi", "karibu na mto", "baada ya mvua", "kwa furaha kubwa", "kabla ya usiku"),
    ),
    "rus": Phrases(
        espeak="ru",
        num2words="ru",
        subjects=("моя сестра", "старый крестьянин", "наш учитель", "молодой врач", "каждый ребёнок", "рыбак"),
        verbs=("находит", "вспоминает", "приносит", "видит", "хранит", "ищет"),
        objects=(
            "маленькую лодку",
            "красную книгу",
            "свежий хлеб",
            "длинную дорогу",
            "немного воды",
            "хорошую историю",
            "белую лошадь",
            "два письма",
        ),
        endings=("сегодня", "рано утром", "у реки", "после дождя", "с большой радостью", "перед зимой"),
    ),
    "ell": Phrases(
        espeak="el",
        num2words=None,
        subjects=("η αδελφή μου", "ο γέρος αγρότης", "ο δάσκαλός μας", "ο νέος γιατρός", "κάθε παιδί", "ο ψαράς"),
        verbs=("βρίσκει", "θυμάται", "φέρνει", "βλέπει", "φυλάει", "θέλει"),
        objects=(
            "μια μικρή βάρκα",
            "το κόκκινο βιβλίο",
            "φρέσκο ψωμί",
            "τον μακρύ δρόμο",
            "λίγο νερό",
            "μια καλή ιστορία",
            "το άσπρο άλογο",
            "δύο γράμματα",
        ),
        endings=("σήμερα", "το πρωί", "κοντά στο ποτάμι", "μετά τη βροχή", "με μεγάλη χαρά", "πριν τον χειμώνα"),
    ),
    "hin": Phrases(
        espeak="hi",
        num2words=None,
        subjects=("मेरी बहन", "बूढ़ी औरत", "हमारी गुरु", "छोटी लड़की", "वह रानी", "मेरी माँ"),
        verbs=("देखती है", "लाती है", "रखती है", "चाहती है", "ढूँढती है", "बेचती है"),
        objects=("छोटी नाव", "लाल किताब", "ताज़ी रोटी", "लंबी सड़क", "थोड़ा पानी", "अच्छी कहानी", "सफ़ेद घोड़ा", "दो चिट्ठियाँ"),
        endings=("आज", "सुबह", "नदी के पास", "बारिश के बाद", "बड़ी खुशी से", "रात से पहले"),
        verb_last=True,
    ),
}

NUMBER_SHARE = 0.2  # of the sentences, in the languages whose numbers num2words spells
LARGEST_NUMBER = 20
NUMBERS_PER_SENTENCE = 3


def sample_sentences(language: str, count: int, rng: np.random.Generator) -> list[str]:
    """Draws `count` different sentences of one language, phrases and spelled-out numbers mixed.

    Args:
      language: a key of PHRASES (ISO 639-3).
      count: number of sentences; about 1,400 exist per language.
      rng: the source of randomness; the same state gives the same sentences.

    Returns:
      Normalized sentences, all different, in random order.

    Raises:
      KeyError: the corpus has no such language; the message lists those it has.
    """
    if language not in PHRASES:
        raise KeyError(f"no phrases for language {language!r}; there are {', '.join(PHRASES)}")
    phrases = PHRASES[language]
    sentences: dict[str, None] = {}
    while len(sentences) < count:
        spell_number = phrases.num2words and rng.random() < NUMBER_SHARE
        sentence = _number_sentence(phrases, rng) if spell_number else _phrase_sentence(phrases, rng)
        sentences[normalize(sentence)] = None
    return list(sentences)


def _phrase_sentence(phrases: Phrases, rng: np.random.Generator) -> str:
    subject, verb, object_, ending = (
        str(rng.choice(part)) for part in (phrases.subjects, phrases.verbs, phrases.objects, phrases.endings)
    )
    order = (subject, ending, object_, verb) if phrases.verb_last else (subject, verb, object_, ending)
    return " ".join(order)


def _number_sentence(phrases: Phrases, rng: np.random.Generator) -> str:
    numbers = rng.integers(1, LARGEST_NUMBER + 1, size=NUMBERS_PER_SENTENCE)
    return " ".join(num2words(int(number), lang=phrases.num2words) for number in numbers)
