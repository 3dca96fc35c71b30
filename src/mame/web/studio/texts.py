"""All that the studio says, in one place."""

TITLE = "MAM-E studio"
INTRO = "Synthetic mammograms for research and testing, not for diagnosis. Nothing leaves this computer."
KEYS = (
    "Keys: Ctrl+Enter starts, Esc stops, Ctrl+Z takes the last lesion back, Alt+R draws a seed, Alt+L more like this, "
    "Alt+V varies."
)
ANY = "any"

MODEL = "Model"
MODEL_INFO = "mini, mini-lesion, a folder in diffusers layout, or a hub name"
MODEL_NOW = "Model: {name}"
OPEN_MODEL, MODEL_OPENED = "Open", "Opened. What the last model held in memory is free."
MODEL_LOADED = "{name} {what}; pictures of {size} x {size}"
PAINTS, MAKES = "paints lesions", "makes mammograms"

GENERATE = "Generate"
VENDOR, VIEW, SIDE, DENSITY, AREA, PRIORITY = "Vendor", "View", "Side", "Density", "Area", "Priority"
PRIORITY_INFO = "Which word comes first, or stands alone: the first weighs more"
PROMPT, PROMPT_INFO = "Prompt", "Built from the choices above; yours to change"
NEGATIVE, NEGATIVE_INFO = "Negative prompt", "What not to show"
COUNT, SEED, STEPS, GUIDANCE = "Pictures", "Seed", "Steps", "Guidance"
DICE = "Dice"
MAKE, STOP = "Make mammograms", "Stop"
SKETCH, SKETCHED = (
    "Quick preview",
    "A preview in few steps, {seconds:.1f} s. *Make mammograms* makes this seed in full.",
)
MORE, MORE_INFO = "More like this", "The same words from the next seed"
VARY, VARY_BY = "Vary one word", "Word that varies"
GALLERY = "Pictures: what was asked, and what was measured"
PREVIEW = "Preview while it is made"
WORKING = "Picture {number} of {count}, step {step} of {steps}"
QUEUED = "Waiting for the model"
DONE = "{count} made in {seconds:.1f} s."
STOPPED = "Stopped. {count} finished."
MEASURED = "{view}, {density} {percent:.0f} %, {area} {cm2:.0f} cm²"
UNMEASURED = "no breast found"
FACT = "{number}. asked: {asked}; measured: {measured}"

PAINT = "Paint a lesion"
OPEN, OPEN_INFO = "Open a mammogram", "DICOM, PNG or JPEG, up to {most} MB"
FROM_GALLERY = "Take the picture chosen under Generate"
KIND, SIZE_MM, VARIANTS = "Lesion", "Size in mm (of a click)", "Variants"
SIZE_INFO = "A click on the mammogram marks a region of this size"
CORNERS, CORNERS_INFO = "Region: x0, y0, x1, y1", "In pixels; what was drawn, or type one and press Enter"
NOT_CORNERS = "Region: {value!r} is not four numbers x0, y0, x1, y1 with x0 < x1 and y0 < y1."
FREE_HAND = "free hand"
EXTENT = "Region of {width:.0f} x {height:.0f} pixels, {wide:.1f} x {tall:.1f} mm."
MOVED_ON = "Another mammogram was opened meanwhile; what was painted is left out."
TOO_LONG_AGO = "Only the last {most} lesions can be taken back."
TOOL, TOOLS = "Drag to", {"move": "pan", "box": "box", "free hand": "lasso"}
PAINT_IT, UNDO, CLEAR = "Paint", "Undo", "Clear the region"
VIEWER_HELP = (
    "Wheel: zoom. Right drag: window and level. Keys on the picture: + and - zoom, 0 fits, arrows move, [ ] level, { } "
    "window, W resets it, I inverts; M moves, B draws boxes, F free hand."
)
NO_IMAGE = "Open a mammogram first."
NO_REGION = "Mark where to paint: draw a box or a free-hand region on the mammogram, or click."
BEFORE_AFTER = "Before and after, around the region"
PAINTED = "Painted: asked {asked}, changed visibly {measured}."
UNCHANGED = "Painted, but nothing changed visibly; try another seed or region."
CHOOSE_VARIANT = "Variants: choose the one to keep"
KEPT_VARIANT = "Variant {number} kept."
UNDONE, NOTHING_TO_UNDO = "The last lesion is gone.", "There is nothing to undo."
NO_GALLERY = "Make a picture under Generate first."

EXPORT = "Save"
EXPORT_INFO = "16-bit PNG, DICOM, mask, labels, and the command that makes the same"
EXPORT_BUTTON = "Prepare files"
FILES = "Files"
RECIPE = "The same from a shell"
NOTHING_MADE = "There is nothing to save yet."

COHORT = "Cohort"
COHORT_COUNT, LESION_SHARE, DENSE_SHARE, MLO_SHARE = (
    "Mammograms",
    "Share with a mass",
    "Share of C and D",
    "Share of MLO",
)
VENDORS = ("ge", "hologic", "siemens")  # the looks that mini knows, the real one first
VENDORS_EVENLY = "Vendors, evenly"
LESION_MM = "Masses, mm: least"
OUTPUTS = "Files and labels"
SHOW_PLAN, START_COHORT, DOWNLOAD_COHORT = "Show the plan", "Make the cohort", "Download as ZIP"
PLAN, FORECAST = "Plan (YAML)", "What will be made"
COHORT_DONE = "{count} mammograms made."

ASSESS = "Assess"
REAL_FOLDER, SYNTHETIC_FOLDER = "Folder of real mammograms", "Folder of synthetic mammograms"
FOLDER_INFO = "A path on this computer: a prepared set, a cohort, or a folder of pictures"
START_ASSESS, REPORT = "Assess", "Report"
NO_FOLDER = "{folder}: is no folder on this computer."
WHICH_FOLDER = "Say which folder: write its path on this computer."

READ = "Read"
STUDY_FOLDER, STUDY_INFO = "Folder of a reader study", "One that `mam-e readers new` has drawn, or a new one"
NEW_STUDY, SERVE_STUDY = "Draw a study", "Open the reading room"
STUDY_IMAGES, STUDY_READERS = "Images of each kind", "Readers"
NEW_LINKS, NEW_LINKS_INFO = "Give out new links", "For links that were lost: the old ones end, answers stay"
READING_AT = "The reading room is open. A link for each reader, given out once:"

UNFORESEEN = "That failed ({kind}); the terminal that the studio runs in says more."
NOT_A_NUMBER = "{name}: {value!r} is not a whole number of 0 or more."
TOO_LARGE = "The file is larger than {most} MB."
OUTSIDE = "Of the region {share:.0%} is outside the breast; keep at least half of it inside."
REMOTE = (
    "--host {host} can be reached by others: give --auth NAME:PASSWORD, or say --no-auth if everybody on that "
    "network may use it"
)
VIEWER_LABEL = "Mammogram: draw a region to paint in"
VIEWER_BUTTONS = {
    "zoom in": "+", "zoom out": "-", "fit": "0", "brighter": "[", "darker": "]", "more contrast": "{",
    "less contrast": "}", "reset window": "w", "invert": "i",
}  # fmt: skip
ABOUT = "{width} x {height} pixels of {spacing:.3f} mm. {origin}"
LESION_MOST = "Masses, mm: most"
LESION_RANGE = "The smallest mass is larger than the largest."
COHORT_WORKING = "{done} of {total} made"
STOPPED_SHORT = "Stopped."
STUDY_DRAWN = "The study is drawn: {folder}"
LINKS_HOLD = "The reading room is open at {address}. The links given out before still hold, on this address."
