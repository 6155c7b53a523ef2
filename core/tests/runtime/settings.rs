//! Settings from all sources together.
