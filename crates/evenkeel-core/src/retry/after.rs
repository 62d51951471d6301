//! `Retry-After` of a response (RFC 9110 section 10.2.3).

use std::time::Duration;

/// The longest wait that a backend can ask for; more is taken as this.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

const SECONDS_PER_DAY: u64 = 86_400;
const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// How long to wait according to a value of `Retry-After`: seconds, or a date in the one form that
/// is still sent (IMF-fixdate, RFC 9110 section 5.6.7); at most `MAX_RETRY_AFTER`. A date that is
/// over is zero. `None` if it is neither.
pub fn retry_after(value: &[u8], now_unix_seconds: u64) -> Option<Duration> {
    let value = value.trim_ascii();
    let seconds = match number(value) {
        Some(seconds) => seconds,
        None => parse_date(value)?.saturating_sub(now_unix_seconds),
    };
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// A number of digits only; saturates.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let append =
        |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add((digit - b'0').into());
    Some(digits.iter().fold(0, append))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`; 0 for an earlier year. The day's name is
/// not compared with the date, and a day that the month lacks counts into the next.
fn parse_date(text: &[u8]) -> Option<u64> {
    let text: &[u8; 29] = text.try_into().ok()?;
    let separated = &text[3..5] == b", "
        && (text[7], text[11], text[16]) == (b' ', b' ', b' ')
        && (text[19], text[22]) == (b':', b':')
        && &text[25..] == b" GMT";
    if !separated || !DAYS.contains(&&text[..3]) {
        return None;
    }
    let day = number(&text[5..7]).filter(|day| (1..=31).contains(day))?;
    let month = MONTHS.iter().position(|name| *name == &text[8..11])?;
    let year = number(&text[12..16])?;
    let hour = number(&text[17..19]).filter(|hour| *hour < 24)?;
    let minute = number(&text[20..22]).filter(|minute| *minute < 60)?;
    let second = number(&text[23..25]).filter(|second| *second <= 60)?; // 60: a leap second
    if year < 1970 {
        return Some(0);
    }
    let days = days_since_1970(year, u64::try_from(month).ok()? + 1, day);
    Some(days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a later date, its month and day counted from 1: Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year }; // a year begins in March
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_read() {
        let cases: [(&str, Option<u64>); 20] = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
            ("Fri, 31 Dec 2027 23:59:59 GMT", Some(1_830_297_599)),
            ("Mon, 01 Mar 2100 00:00:00 GMT", Some(4_107_542_400)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799)),
            ("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", Some(0)),
            ("Sat, 01 Jan 0000 00:00:00 GMT", Some(0)),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("Sun, 32 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Now 1994 08:49:37 GMT", None),
            ("Son, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:60:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:61 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, +6 Nov 1994 08:49:37 GMT", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun Nov  6 08:49:37 1994", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_date(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn waits_are_capped() {
        let now = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
        let cases: [(&[u8], Option<u64>); 14] = [
            (b"0", Some(0)),
            (b"5", Some(5)),
            (b" 007\t", Some(7)),
            (b"60", Some(60)),
            (b"61", Some(60)),
            (b"99999999999999999999999999999999", Some(60)),
            (b"Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            (b"Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            (b"Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            (b"Mon, 07 Nov 1994 08:49:37 GMT", Some(60)),
            (b"", None),
            (b"-1", None),
            (b"1.5", None),
            (b"soon", None),
        ];
        for (value, seconds) in cases {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let mut expected = 0;
        for year in 1970..2500_u64 {
            let leap = year.is_multiple_of(4) && !year.is_multiple_of(100);
            let february = if leap || year.is_multiple_of(400) { 29 } else { 28 };
            let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1..).zip(lengths) {
                for day in 1..=length {
                    assert_eq!(days_since_1970(year, month, day), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            value in proptest::collection::vec(any::<u8>(), 0..40),
            now in any::<u64>(),
        ) {
            if let Some(wait) = retry_after(&value, now) {
                prop_assert!(wait <= MAX_RETRY_AFTER);
            }
        }

        #[test]
        fn anything_like_a_date_is_survived(
            value in "(Sun|Mon), [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
            now in any::<u64>(),
        ) {
            if let Some(wait) = retry_after(value.as_bytes(), now) {
                prop_assert!(wait <= MAX_RETRY_AFTER);
            }
        }
    }
}
