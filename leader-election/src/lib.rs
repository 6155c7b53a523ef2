//! The leader-election pattern of Quorate.
//!
//! Not built yet: the crate holds its place in the workspace and exports nothing, so that nothing can
//! be used that does not work.
