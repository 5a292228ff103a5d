//! What a network looks like: the topology file, its schema, its validation. Pure: knows no kernel.
