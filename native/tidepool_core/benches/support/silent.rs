//! A console for guests of which nobody reads what they print.

use tidepool_core::console::{Console, Line};

pub(crate) struct Silent;

impl Console for Silent {
    fn print(&self, _line: Line) -> Result<(), Line> {
        Ok(())
    }
}
