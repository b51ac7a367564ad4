// The frame of translate and rotate_translate, which define what happens to one vec4:
//
//   fn element(i: u32, place: Place, result: Outcome, factors: BaseFactors)

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    var result: Outcome;
    if UNGUARDED {
        result = unmeasured_outcome();
    } else {
        result = outcome(reduce_partials(thread));
        publish(result, thread);
        if is_skipped(result) {
            return;
        }
    }
    let factors = base_factors(result.record.updates);
    let tile = tile_of(thread);
    for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
        element(i, tile.place, result, factors);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        element(i, place_of(i), result, factors);
    }
}
