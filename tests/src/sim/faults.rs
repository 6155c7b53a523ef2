//! What goes wrong in one simulated run. Each seed draws its own mixture and leaves some faults out
//! altogether (swarm testing, Groce et al. 2012), because a fault that is always there hides others.

use super::rng::Rng;

/// A fault that is placed where the lease rule is tight. What strikes at random seldom meets two or three
/// instants at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The leader stands still from the instant at which a renewal reached it, for longer than it takes
    /// the others to elect another and end a session. Then it reads what its clients sent before what
    /// its peers did.
    StandStill,
    /// The requests of an actor that holds something are held back for about as long as its session, and
    /// then arrive together: some of them while the end of that session is under way.
    HoldBack,
    /// The same, while the leader is cut off as it comes to that end; then its successor is cut off, so
    /// that the first one may come back.
    SeeSaw,
}

/// The mixture of one run. Chances are per mille, times in milliseconds of true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A message is lost.
    pub drop_permille: u64,
    /// A message is delivered twice.
    pub duplicate_permille: u64,
    /// Longest delay of a message.
    pub delay_ms_max: u64,
    /// Longest time a sync takes.
    pub sync_ms_max: u64,
    /// A sync takes long at all, rather than a millisecond at the most.
    pub sync_slow_permille: u64,
    /// Mean time between crashes of a node; 0 is never.
    pub crash_every_ms: u64,
    /// A crash also loses what was not synced (power), rather than the process alone.
    pub power_permille: u64,
    /// Mean time between partitions; 0 is never.
    pub partition_every_ms: u64,
    /// A partition cuts one direction only.
    pub one_way_permille: u64,
    /// A crash, pause or partition is aimed at the leader.
    pub leader_permille: u64,
    /// Mean time between pauses of a node; 0 is never.
    pub pause_every_ms: u64,
    /// Largest deviation of a clock's rate, in parts per thousand; the lease rule allows 10.
    pub drift_permille: u64,
    /// Wall clocks jump by up to so much, now and then; 0 is never. Minutes at most, because log time
    /// follows them: an hour would end the window of idempotency keys and a day the retention of final
    /// jobs, rightly, and the ledger could not tell either from a loss.
    pub wall_jump_ms: u64,
    /// Mean time between crashes of a worker; 0 is never.
    pub worker_crash_every_ms: u64,
    /// Answers to clients are lost.
    pub reply_lost_permille: u64,
    /// What is placed now and then beside all that, in patterns that ask for it.
    pub aim: Option<Aim>,
}

impl Faults {
    /// No fault at all: the mixture of the phase in which everything must come good.
    pub const NONE: Self = Self {
        drop_permille: 0,
        duplicate_permille: 0,
        delay_ms_max: 2,
        sync_ms_max: 2,
        sync_slow_permille: 100,
        crash_every_ms: 0,
        power_permille: 0,
        partition_every_ms: 0,
        one_way_permille: 0,
        leader_permille: 0,
        pause_every_ms: 0,
        drift_permille: 0,
        wall_jump_ms: 0,
        worker_crash_every_ms: 0,
        reply_lost_permille: 0,
        aim: None,
    };

    /// The mixture of a seed.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut some = |values: &[u64]| -> u64 {
            let index = usize::try_from(rng.below(values.len() as u64)).unwrap_or(0);
            values.get(index).copied().unwrap_or(0)
        };
        Self {
            drop_permille: some(&[0, 0, 10, 100]),
            duplicate_permille: some(&[0, 0, 10, 100]),
            delay_ms_max: some(&[1, 5, 20, 80]),
            sync_ms_max: some(&[1, 3, 20, 100]),
            sync_slow_permille: 100,
            crash_every_ms: some(&[0, 400, 1500, 4000]),
            power_permille: some(&[0, 500, 1000]),
            partition_every_ms: some(&[0, 0, 700, 2500]),
            one_way_permille: some(&[0, 300, 1000]),
            leader_permille: some(&[0, 500, 900]),
            pause_every_ms: some(&[0, 0, 800, 3000]),
            drift_permille: some(&[0, 5, 9]),
            wall_jump_ms: some(&[0, 0, 5_000, 240_000]),
            worker_crash_every_ms: some(&[0, 800, 3000]),
            reply_lost_permille: some(&[0, 20, 150]),
            aim: None,
        }
    }
}
