"""The languages that guests are written in."""

from .component import ABI_GUESTS, COMPONENT_GUESTS
from .go import GO_GUESTS
from .lunatic import LUNATIC_GUESTS
from .npm import ASSEMBLYSCRIPT_GUESTS, WAT_GUESTS
from .packages import PACKAGE_GUESTS
from .rust import RUST_GUESTS
from .zig import C_GUESTS, ZIG_GUESTS

# Each lane is built side by side with the others; the languages of one lane share a compiler.
LANES = [[RUST_GUESTS, LUNATIC_GUESTS], [GO_GUESTS], [ZIG_GUESTS, C_GUESTS], [ASSEMBLYSCRIPT_GUESTS, WAT_GUESTS], [COMPONENT_GUESTS, ABI_GUESTS, PACKAGE_GUESTS]]
LANGUAGES = {language.name: language for lane in LANES for language in lane}
