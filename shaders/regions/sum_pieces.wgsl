// sum_pieces: the partials of each region that has several pieces, added by a stream of threads.
//
// in:  the partials of gram
// out: regions[].sums
// builds on: vector_bindings, regions, partial, threads, switches, entry

fn kernel(thread: Thread) {
    let index = stream_of(thread);
    var total = Partial();
    var region = step.regions;
    if index < step.several {
        region = regions[index].several;
        let end = end_partial(region);
        let first = first_partial(region) + thread.lane % PIECE_WIDTH;
        for (var i = first; i < end; i += PIECE_WIDTH) {
            total = add(total, scalars.partials[i]);
        }
    }
    let sums = reduce_stream(thread, total);
    if thread.lane % PIECE_WIDTH == 0u && region < step.regions {
        regions[region].sums = signed(sums, region);
    }
}
