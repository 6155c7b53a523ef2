//! Pages: a list is asked for with a size and a token, and answers the token of the next page. The
//! token is the key of the last item in the same text that users see elsewhere; they need not know.

use crate::machine::limits;
use quorate_core::error::Error;

/// Items of a page when the request does not say.
const PAGE_DEFAULT: u32 = 100;

/// One page of a list, from the wire's point of view.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Empty on the last page.
    pub next_page_token: String,
}

impl<T> Page<T> {
    /// A page of at most `limit` items. A full one has a next page, whose token is made from its last
    /// item (an empty next page costs one more request and saves a look-ahead in every list).
    pub fn new(items: Vec<T>, limit: u32, token: impl FnOnce(&T) -> String) -> Self {
        let full = u32::try_from(items.len()).is_ok_and(|len| len >= limit);
        let next_page_token = items.last().filter(|_| full).map(token).unwrap_or_default();
        Self {
            items,
            next_page_token,
        }
    }
}

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
