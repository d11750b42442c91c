//! Tables by which causes are told from what AWS says: codes where there are some, else pieces of a text.

/// An enum of causes, and a list of all of them.
macro_rules! causes {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $cause:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$about])* $cause,)*
        }

        #[cfg(test)]
        impl $name {
            /// Each of them once.
            pub const ALL: &'static [$name] = &[$($name::$cause,)*];
        }
    };
}
pub(super) use causes;

/// What is told by a text: that it holds all of these pieces, whatever their case.
#[derive(Debug, Clone, Copy)]
pub struct Row<C: 'static> {
    /// EMR's code; empty: any.
    pub code: &'static str,
    /// Pieces of the text, in lower case.
    pub pieces: &'static [&'static str],
    pub cause: C,
    /// Where this was read: a page of AWS's documentation, an issue or a file of a public repository; `guess`: nowhere.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is for people, and for tests"))]
    pub source: &'static str,
}

/// A row for any code.
pub const fn row<C: Copy>(pieces: &'static [&'static str], cause: C, source: &'static str) -> Row<C> {
    Row { code: "", pieces, cause, source }
}

/// A row for one code.
pub const fn coded<C: Copy>(
    code: &'static str,
    pieces: &'static [&'static str],
    cause: C,
    source: &'static str,
) -> Row<C> {
    Row { code, pieces, cause, source }
}

/// The first row that fits.
pub fn find<C: Copy>(table: &[Row<C>], code: &str, text: &str) -> Option<C> {
    let text = text.to_lowercase();
    let fits = |row: &&Row<C>| {
        (row.code.is_empty() || row.code == code) && row.pieces.iter().all(|piece| text.contains(piece))
    };
    table.iter().find(fits).map(|row| row.cause)
}

/// Whether a source can be looked up: a URL, `owner/repository` with more, or the word `guess`.
#[cfg(test)]
pub fn is_source(source: &str) -> bool {
    source == "guess"
        || source.starts_with("https://")
        || source.split([' ', '#', ':']).next().unwrap().contains('/')
}
