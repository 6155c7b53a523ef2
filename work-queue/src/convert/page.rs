//! Pages: a list is asked for with a size and a token, and answers the token of the next page. The
//! token is where the next page begins, in the same text that users see elsewhere; they need not know.

use crate::machine::limits;
use quorate_core::error::Error;

/// Items of a page when the request does not say.
const PAGE_DEFAULT: u32 = 100;

/// The number of items to ask for; 0 is the default.
pub fn page_limit(page_size: u32) -> Result<u32, Error> {
    match page_size {
        0 => Ok(PAGE_DEFAULT),
        size if size <= limits::PAGE_MAX => Ok(size),
        size => Err(Error::invalid(format!(
            "page_size: {size} is too many; ask for 1 to {} and follow next_page_token",
            limits::PAGE_MAX
        ))),
    }
}

/// Reads a page token; empty is the first page.
pub(crate) fn token<T>(
    token: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    read(token).map(Some).ok_or_else(|| {
        Error::invalid(
            "page_token: not one of this list; pass next_page_token of the page before, or leave it \
             out to begin at the first page",
        )
    })
}

/// The token of the next page; empty when there is none.
pub fn next_token<T: ToString>(next: Option<T>) -> String {
    next.map(|next| next.to_string()).unwrap_or_default()
}
