//! How a command says how far it is: lines in `WORK_PROGRESS_FILE`. [`parse`] understands them,
//! [`tail`] follows the file.

pub(crate) mod parse;
pub(crate) mod tail;
