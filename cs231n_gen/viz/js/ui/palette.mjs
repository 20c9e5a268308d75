// The colours of every figure, from the file that Python reads too.

import palette from "../../../common/palette.json" with { type: "json" };

export const { colors: COLORS, themes: THEMES } = palette;
