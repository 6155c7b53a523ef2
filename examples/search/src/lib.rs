//! Full-text search over shards: leaves that know a third of the documents each, two of every kind, and
//! a root that merges the best hits and the facet counts of all.
//!
//! `corpus` is what is searched, `index` searches it, `leaf` is a small server around an index, and
//! `fleet` starts the leaves and a root and tells the root how to merge.

pub mod corpus;
pub mod fleet;
pub mod index;
pub mod leaf;
