//! Proves that the table takes no stale write while leaders are killed, stopped for longer than their
//! lease and cut off.
#![allow(clippy::unwrap_used, reason = "a test")]

#[tokio::test(flavor = "multi_thread")]
async fn one_writes_and_the_table_takes_no_stale_write() {
    let program = env!("CARGO_BIN_EXE_singleton").into();
    let report = singleton::demo::run(program, 15).await.unwrap();
    singleton::demo::say(&report.to_string());
    report.verdict().unwrap();
}
