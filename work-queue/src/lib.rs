//! wq
