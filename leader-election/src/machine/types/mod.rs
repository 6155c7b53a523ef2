//! The vocabulary of leader election: what can be asked, what is answered, what is told.
//!
//! Everything here that is logged or kept goes through `quorate_core::codec`. **Format rule**: enums
//! grow at the end only; a struct that is logged or kept does not change its fields.

mod change;
mod command;
mod event;
mod ids;
pub mod limits;
mod query;
mod renewal;
mod reply;
mod settings;
mod view;

pub use change::{Change, EndCause, Leadership, LeaveCause, Phase, RevokeCause, What};
pub use command::{Campaign, Command, Liveness};
pub use event::Event;
pub use ids::SessionId;
pub use query::{Answer, History, Query};
pub use renewal::{Kept, Renewal, Renewed};
pub use reply::{Campaigned, Opened, Reply, Transferring};
pub use settings::Settings;
pub use view::{CandidateView, ElectionSummary, ElectionView, SessionView};
