//! Lines of sources: what finds those of a backtrace.

use std::sync::Arc;

use rustler::{Resource, ResourceArc};
use tidepool_core::source_lines::SourceLines;

use crate::terms::decode::List;

/// Lines of a module.
pub(crate) struct LinesHandle(pub(crate) Arc<SourceLines>);

#[rustler::resource_impl]
impl Resource for LinesHandle {}

/// `{file, line}`, or `nil`, of what stands at each of these offsets of the module, which may be `nil`, too.
#[rustler::nif(schedule = "DirtyCpu")]
fn source_lines(lines: ResourceArc<LinesHandle>, offsets: List<Option<usize>>) -> Vec<Option<(String, u32)>> {
    let find = |offset: Option<usize>| offset.and_then(|offset| lines.0.find(offset)).map(|at| (at.file, at.line));
    offsets.0.into_iter().map(find).collect()
}
