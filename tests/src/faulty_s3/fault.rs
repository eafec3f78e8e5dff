//! The ways to fail, and how often.

use super::operation::Operation;
use rand::{Rng, rngs::StdRng};
use std::{collections::BTreeMap, fmt::Write};

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The answer comes up to 2 s later.
    Delay,
    /// The connection ends before the store saw the request.
    LostRequest,
    /// The connection ends after the store did what was asked.
    LostAnswer,
    /// The store gets the same change again, up to 3 s later.
    Twice,
    /// 503 `SlowDown`, nothing done.
    SlowDown,
    /// 200 with an error in its body.
    ErrorInside,
    /// `NoSuchUpload` after the upload was completed.
    UploadGone,
    /// 200 that names keys as not deleted.
    PartialDelete,
    /// Half of an object's bytes, then the connection ends.
    CutBody,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Delay,
        Self::LostRequest,
        Self::LostAnswer,
        Self::Twice,
        Self::SlowDown,
        Self::ErrorInside,
        Self::UploadGone,
        Self::PartialDelete,
        Self::CutBody,
    ];

    /// Whether services fail in this way at that.
    pub fn fits(self, operation: Operation) -> bool {
        match self {
            Self::Delay | Self::LostRequest | Self::LostAnswer | Self::SlowDown => true,
            Self::Twice => operation.is_change(),
            Self::ErrorInside => {
                use Operation::{CompleteMultipartUpload, CopyObject, UploadPartCopy};
                matches!(operation, CompleteMultipartUpload | CopyObject | UploadPartCopy)
            }
            Self::UploadGone => operation == Operation::CompleteMultipartUpload,
            Self::PartialDelete => operation == Operation::DeleteObjects,
            Self::CutBody => operation == Operation::GetObject,
        }
    }
}

/// How often each fault comes, in thousandths of the requests that it fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates(BTreeMap<Fault, u32>);

impl Rates {
    /// Never.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every one of them, often enough to be met, seldom enough to go on.
    pub fn some() -> Self {
        let often = |fault: &Fault| match fault {
            // Of uploads in parts there are few.
            Fault::ErrorInside | Fault::UploadGone => 400,
            Fault::PartialDelete => 200,
            _ => 15,
        };
        Self(Fault::ALL.iter().map(|fault| (*fault, often(fault))).collect())
    }

    /// Only this one, so often.
    pub fn only(fault: Fault, permille: u32) -> Self {
        Self([(fault, permille)].into())
    }

    /// The fault that comes now; `chances` counts how often each might have come since it last did. One that has waited for
    /// twice as long as it should comes for sure, so that a run of some length meets all of them.
    pub(super) fn draw(
        &self,
        operation: Operation,
        random: &mut StdRng,
        chances: &mut BTreeMap<(Operation, Fault), u32>,
    ) -> Option<Fault> {
        // Few uploads begin, and each that begins unknown to the server must not be left.
        let times = if operation == Operation::CreateMultipartUpload { 20 } else { 1 };
        let mut drawn = None;
        for (fault, permille) in self.0.iter().filter(|(fault, _)| fault.fits(operation)) {
            let permille = permille * times;
            // Every rate is asked, so that adding one does not shift what the others draw.
            let hit = random.random_range(0..1_000) < permille;
            let waited = chances.entry((operation, *fault)).or_default();
            *waited += 1;
            if drawn.is_none() && (hit || *waited * permille >= 2_000) {
                *waited = 0;
                drawn = Some(*fault);
            }
        }
        drawn
    }
}

/// The answer to a bulk delete that names keys as not deleted: every other one if it took `effect`, all if not.
pub(super) fn partial_delete(request: &str, effect: bool) -> String {
    let quiet = request.contains("<Quiet>true</Quiet>");
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><DeleteResult>");
    for (number, key) in request.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()).enumerate() {
        let failed = !effect || number % 2 == 0;
        let _ = match (failed, quiet) {
            (true, _) => {
                write!(text, "<Error><Key>{key}</Key><Code>InternalError</Code><Message>injected</Message></Error>")
            }
            (false, false) => write!(text, "<Deleted><Key>{key}</Key></Deleted>"),
            (false, true) => Ok(()),
        };
    }
    text.push_str("</DeleteResult>");
    text
}
