//! Protocol buffers of Quorate.
