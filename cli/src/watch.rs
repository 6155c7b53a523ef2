//! Following a batch to its end, for `batch watch` and `submit --watch`.

use crate::connect::Remote;
use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::progress::{batch_bar, patiently};
use crate::view::BatchDocument;
use quorate_work_queue::machine::{BatchId, BatchState};
use std::time::Duration;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// Shows a batch until it is final: a bar on terminals, a document at each change for `-o json|yaml`.
/// Succeeds only if the batch completed. A batch that is held waits for a person, so it is watched on.
pub(crate) async fn watch_batch(remote: &Remote, batch: BatchId, context: Context) -> Outcome {
    let output = context.output;
    let bar = batch_bar(output);
    let mut shown = None;
    let mut held_told = false;
    let view = loop {
        let view = patiently(output, || remote.batch(batch)).await?;
        bar.show(&view);
        if output.streams() && shown != Some((view.state, view.counts)) {
            shown = Some((view.state, view.counts));
            output.print_next(&BatchDocument::from(view.clone()))?;
        }
        if view.state == BatchState::Held && !held_told {
            held_told = true;
            bar.say(&format!(
                "held by {} dead job(s): see `quorate batch results {batch}`, then `quorate jobs retry JOB` or `quorate jobs skip JOB`",
                view.counts.dead
            ));
        }
        if matches!(
            view.state,
            BatchState::Completed | BatchState::Dead | BatchState::Cancelled
        ) {
            break view;
        }
        tokio::time::sleep(EVERY).await;
    };
    drop(bar);
    let completed = view.state == BatchState::Completed;
    if !output.streams() {
        output.print(&BatchDocument::from(view))?;
    }
    if completed {
        Ok(())
    } else {
        Err(Failure::silent(Exit::Refused))
    }
}
