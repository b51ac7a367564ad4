// Numbers of the stored vectors, for the random bits of their rounding.

const ORIENTATION: u32 = 0u;
const FIRST_MOMENT: u32 = 1u;
const SECOND_MOMENT: u32 = 2u;
// Those of the workspace follow.
const WORKSPACE: u32 = 3u;
