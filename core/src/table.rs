//! An ordered table whose snapshot is taken in bounded slices while it keeps changing
//! (copy-before-write), so that a million rows pause nothing.
