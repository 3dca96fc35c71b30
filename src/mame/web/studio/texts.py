"""Every word of the studio that a user reads, in one place."""

from __future__ import annotations

TITLE = "MAM-E studio"
SUBTITLE = "Mammograms on order. What is made here shows nobody: for research and testing, never for diagnosis."
LEFT_TO_MODEL = "any"

# -- tabs
TAB_GENERATE, TAB_PAINT, TAB_COHORT, TAB_READ, TAB_ASSESS = "Generate", "Paint a lesion", "Cohort", "Read", "Assess"

# -- the model
MODEL = "Model"
MODEL_INFO = "An embedded model, a folder in diffusers layout, or a hub name such as owner/name."
MODEL_READY = "{name}: {does}. {facts}"
MODEL_MAKES = "makes healthy mammograms"
MODEL_PAINTS = "paints lesions into a mammogram"
MODEL_BOTH = "makes healthy mammograms and paints lesions"
MODEL_NO_CARD = "It has no card of MAM-E: what it has learned is not known."
MODEL_OPENING = "Opening the model {name}…"
MODEL_ON_SERVER = "the studio is shared with other machines: ask whoever runs it to start it with --model {name}"

# -- generate
VENDOR, VIEW, SIDE, DENSITY, AREA, PRIORITY = "Vendor", "View", "Side", "Density", "Area", "Which word comes first"
PRIORITY_INFO = "The first word weighs more."
PROMPT, PROMPT_INFO = "Prompt", "Built from the words above; you may change it."
NEGATIVE, NEGATIVE_INFO = "Negative prompt", "What not to show."
GUIDANCE, GUIDANCE_INFO = "Guidance", "How strongly the prompt is followed; 1 is off."
STEPS, STEPS_INFO = "Steps", "More is slower, and finer up to a point."
SEED, SEED_INFO = "Seed", "The same seed gives the same picture."
DICE = "Roll a new seed"
COUNT = "Pictures"
GENERATE, STOP = "Generate", "Stop"
MORE_SETTINGS = "More settings"
RIGHT_LEFT = (("left", "L"), ("right", "R"))
DENSITY_LETTERS = "{word} ({letter})"

WAITING_EMPTY = "Choose the words and press Generate. Pictures appear here."
MAKING = "Picture {number} of {count}, step {done} of {total}"
LOADING = "Opening the model…"
MADE = "{count} made in {seconds:.1f} s."
STOPPED = "Stopped. What was finished is kept."
PREVIEW_ALT = "Preview of the picture that is being made"
PICTURE_ALT = "Mammogram {number}: {prompt}, seed {seed}"
ASKED, MEASURED = "asked", "measured"
NO_BREAST = "no breast found in it"
NUMBER = "seed {seed} · no. {index}"

CHOSEN_NONE = "Choose a picture above to go on with it."
CHOSEN = "Picture {number}: {prompt}"
MORE = "More like this"
VARY, VARY_INFO = "Same seed, other words", "Makes a row that differs in one word."
VARY_WHAT = "Which word"
PAINT_INTO = "Paint a lesion into it"
SAVE_PNG, SAVE_DICOM, SAVE_ALL = "PNG, 16 bit", "DICOM", "Everything (zip)"
EXPORT = "Take it with you"
RECIPE, RECIPE_INFO = "Recipe", "These lines in a shell make the same picture."

# -- paint
OPEN, OPEN_INFO = (
    "Open a mammogram",
    "DICOM, PNG or JPEG, at most {limit}. It stays on this machine and is deleted at the end.",
)
SPACING, SPACING_INFO = "Pixel size, mm", "Only where the file does not say it."
EXAMPLE = "Open an example film"
EXAMPLE_INFO = "A scanned film of CBIS-DDSM (CC BY 3.0)."
OPENED = "{name}: {width} × {height} pixels, {spacing}."
OPENED_SPACING = "{mm:.3g} mm a pixel ({origin})"
ORIGINS = {"file": "from the file", "given": "as given", "assumed": "assumed: a 24 cm film", "model": "of the model"}
KIND, KIND_NAMES = "Kind", {"mass": "mass", "calcifications": "suspicious calcifications", "lesion": "lesion, any"}
KIND_UNKNOWN = "This model has learned {known}."
VIEW_OF_FILE = "as the file says"
VARIANTS, VARIANTS_INFO = "Variants", "Each with the next seed."
PAINT, AGAIN, UNDO = "Paint", "Another try here", "Undo"
PAINTING = "Painting {number} of {count}, step {done} of {total}"
PAINTED = "Painted: {kind}, {width:.0f} × {height:.0f} mm asked for{changed}. Draw again to place another one."
PAINTED_CHANGED = ", {width:.0f} × {height:.0f} mm changed visibly"
PAINTED_NOTHING = ", but nothing changed visibly: try another seed, or a larger region"
NOTHING_OPEN = "Open a mammogram first."
NO_MASK = "Mark where to paint: choose Place, Box or Free hand, and draw in the picture."
OUTSIDE = "This region lies outside the breast. Draw it inside the orange outline."
MOSTLY_OUTSIDE = "Only {share:.0%} of this region lies in the breast; at least half of it must. Move it inwards."
REGION_OK = "Region of {width:.1f} × {height:.1f} mm, inside the breast. Press Paint."
TOO_SMALL = "This region is too small to paint into: draw it larger."
NOTHING_TO_UNDO = "There is nothing to undo."
UNDONE = "The last lesion is gone."
VARIANT_ALT = "Variant {number}, seed {seed}"
GONE = "This picture is no longer on the desk: make or open it again."

CANVAS = {
    "label": "Mammogram. Drag to move, wheel to zoom, right drag for window and level.",
    "empty": "Open a mammogram, or choose Paint a lesion into it under a generated one.",
    "pan": "Move",
    "spot": "Place",
    "box": "Box",
    "lasso": "Free hand",
    "erase": "Clear drawing",
    "size": "Size, mm",
    "fit": "Fit",
    "real": "1:1",
    "invert": "Invert",
    "reset": "Reset window",
    "outline": "Outline",
    "level": "Level",
    "width": "Width",
    "compare": "Before | after",
    "tools": "Drawing",
    "view": "View",
    "measured": "{width} × {height} mm",
}

# -- mistakes
NOT_A_NUMBER = "{name}: {said!r} is not a number."
NOT_WHOLE = "{name}: {said!r} is not a whole number of 0 or more."
OUT_OF_RANGE = "{name}: {said} is outside {least} to {most}."
NO_PROMPT = "The prompt is empty: choose words above, or write some."
TOO_LARGE = "This file is larger than {limit}."
NO_FILE = "Choose a file."
DICOM_NEEDS_VIEW = "DICOM needs the view: choose CC or MLO. PNG works as it is."
UNFORESEEN = "Something went wrong here that the studio did not foresee: {error}"

KEYS = "Keys"
KEYS_TEXT = (
    ("Alt 1 – Alt 5", "the tabs"),
    ("Ctrl Enter", "Generate, or Paint"),
    ("Esc", "stop"),
    ("M  L  B  H", "move, place, box, free hand"),
    ("[  ]  {  }", "level and width of the window"),
    ("I  F  R  W", "invert, whole picture, 1:1, first window"),
    ("+  −  arrows", "zoom and move"),
    ("C", "before and after"),
)
FREE_TEXT = "The words of a prompt in free text can't be varied: use the menus."
NO_WORDS = "The model knows no words for {name}."
NONE_OF = "{name}: {said!r} is none of {known}."
CARD_VENDORS, CARD_LESIONS, CARD_FRAME = "vendors", "lesions", "pictures"
CARD_COMPANION, CARD_TRAINING = "together with", "training"
FRAMES = {"field": "a field of {mm:.0f} mm, so that size means size", "center_crop": "centre crops of unknown size"}
