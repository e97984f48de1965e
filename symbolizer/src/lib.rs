//! From a file and an offset to the names of the functions there.
