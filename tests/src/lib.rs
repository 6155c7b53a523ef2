//! What tests of Quorate share: the simulation of a whole cluster and its checkers, and real processes.

pub mod processes;
pub mod sim;
