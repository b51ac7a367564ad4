// The bounds of what a workgroup walks, and the group and padding of each vec4.
// builds on: types, scalars, step_bindings, streams, threads

// One workgroup's share of a shard, as the ends of two loops: a tile whose blocks are all full and
// of one group takes the first, where the place of every vec4 is known before the loop.
struct Tile {
    first: u32,
    alike_end: u32,
    mixed_end: u32,
    place: Place,
}

fn tile_of(thread: Thread) -> Tile {
    let index = shard.first_tile + thread.workgroup.x;
    let block = tables.tiles[index / 4u][index % 4u];
    let walk = walk_of(thread);
    let alike = block != 0u;
    let place = Place(tables.groups[block >> 8u], vec4<bool>(true));
    return Tile(walk.first, select(0u, walk.end, alike), select(walk.end, 0u, alike), place);
}

fn place_of(i: u32) -> Place {
    let block = blocks[i / BLOCK_VECTORS];
    let first = (i % BLOCK_VECTORS) * 4u;
    let lanes = vec4u(first, first + 1u, first + 2u, first + 3u);
    return Place(tables.groups[block >> 8u], lanes < vec4u(block & 0xffu));
}

// The lanes on which the dimer acts.
fn acts(place: Place) -> vec4<bool> {
    return place.valid & vec4<bool>(place.group.dimer != 0u);
}
