//! What tests of Quorate share: the simulation of a whole cluster and its checkers, real processes and real containers.

pub mod e2e;
pub mod load;
pub mod processes;
pub mod sim;
