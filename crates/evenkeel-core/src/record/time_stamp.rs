//! RFC 3339 text of a moment, in UTC.

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_MILLI: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// No moment of a `u64` of nanoseconds has this second.
const NO_SECOND: u64 = u64::MAX;

/// Writes `2026-11-20T18:00:00.123Z`. Keeps the text of the last second, because lines that follow
/// each other mostly share it; so give each thread its own.
#[derive(Clone, Debug)]
pub struct TimeStamp {
    second: u64,
    text: [u8; 24],
}

impl Default for TimeStamp {
    fn default() -> TimeStamp {
        TimeStamp { second: NO_SECOND, text: *b"0000-00-00T00:00:00.000Z" }
    }
}

impl TimeStamp {
    /// The text (always 24 bytes of ASCII) of a moment in nanoseconds since 1970-01-01T00:00:00Z.
    #[inline]
    pub fn at(&mut self, unix_nanos: u64) -> &[u8] {
        let second = unix_nanos / NANOS_PER_SECOND;
        if second != self.second {
            self.write_second(second);
        }
        let milli = unix_nanos % NANOS_PER_SECOND / NANOS_PER_MILLI;
        write_digits(&mut self.text[20..23], milli);
        &self.text
    }

    fn write_second(&mut self, second: u64) {
        let (year, month, day) = civil_from_days(second / SECONDS_PER_DAY);
        let of_day = second % SECONDS_PER_DAY;
        write_digits(&mut self.text[0..4], year);
        write_digits(&mut self.text[5..7], month);
        write_digits(&mut self.text[8..10], day);
        write_digits(&mut self.text[11..13], of_day / 3600);
        write_digits(&mut self.text[14..16], of_day / 60 % 60);
        write_digits(&mut self.text[17..19], of_day % 60);
        self.second = second;
    }
}

/// Year, month (1-12) and day (1-31) of a number of days since 1970-01-01, in the proleptic
/// Gregorian calendar: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`, for days that are not negative.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // since 0000-03-01, so that a leap day ends its year
    let era = shifted / 146_097; // 400 years each
    let day_of_era = shifted % 146_097;
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// The last digits of `number`, as many as `text` has room for.
fn write_digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        let cases: [(u64, &str); 8] = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999_999_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000_000_000, "2000-03-01T00:00:00.000Z"),
            (1_795_197_600_123_456_789, "2026-11-20T18:00:00.123Z"),
            (1_798_761_599_000_000_000, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "2554-07-21T23:34:33.709Z"),
        ];
        let mut stamp = TimeStamp::default();
        for (nanos, expected) in cases {
            assert_eq!(std::str::from_utf8(stamp.at(nanos)), Ok(expected));
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let days_of_month = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4)
                && (!year.is_multiple_of(100) || year.is_multiple_of(400)) =>
            {
                29
            }
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..250_000 {
            assert_eq!(civil_from_days(days), (year, month, day));
            day += 1;
            if day > days_of_month(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn the_kept_second_never_shows_in_another() {
        let mut kept = TimeStamp::default();
        for nanos in [5, 999_000_000, 1_000_000_000, 3_000_000, 86_400_000_000_000, 0] {
            assert_eq!(kept.at(nanos), TimeStamp::default().at(nanos));
        }
    }
}
