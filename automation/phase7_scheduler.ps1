# Waits until -At, if it is given, then runs the orchestrator: nobody has to be there.
#   pwsh -File phase7_scheduler.ps1 -At '2026-12-01T02:00:00Z'
param(
    [string]$Config = (Join-Path $PSScriptRoot 'phase7_automation.json'),
    [string]$At = ''
)

$ErrorActionPreference = 'Stop'
if ($At -ne '') {
    $due = [DateTimeOffset]::Parse($At, [Globalization.CultureInfo]::InvariantCulture)
    $left = $due - [DateTimeOffset]::Now
    if ($left.TotalSeconds -gt 0) { Start-Sleep -Seconds ([int][Math]::Ceiling($left.TotalSeconds)) }
}
& (Join-Path $PSScriptRoot 'phase7_orchestrator.ps1') -Config $Config
exit $LASTEXITCODE
