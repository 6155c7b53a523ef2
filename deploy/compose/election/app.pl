#!/usr/bin/perl
# An example of an application of which one instance works at a time. It knows one server, on localhost: its sidecar. It
# becomes a candidate, waits until it leads, works for a moment under its fencing token, hands over and ends. The file it
# writes to is the protected resource: a token that does not grow means that two instances led at once.
use strict;
use warnings;
use Fcntl qw(:flock SEEK_SET);
use IO::Socket::INET;

my ($name, $ledger) = @ENV{qw(APP_NAME LEDGER)};
my $candidate = "/v1/elections/demo/candidates/$name";

sub ask {
    my ($method, $path, $body) = @_;
    my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => 7071, Timeout => 5)
        or die "the sidecar does not listen: $!\n";
    printf $server "%s %s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s",
        $method, $path, length $body, $body;
    my $answer = do { local $/; <$server> };
    my ($status) = $answer =~ m{^HTTP/1\.1 (\d+)} or die "no answer to $method $path\n";
    return ($status, $answer);
}

my ($session, $token);
for my $attempt (1 .. 30) {
    my ($status, $answer) = ask('PUT', $candidate, '{"ttl_ms":5000,"wait_ms":20000}');
    if ($status == 200 && $answer =~ /"self":"leader"/) {
        ($token) = $answer =~ /"fencing_token":(\d+)/ or die "a leader without a token: $answer\n";
        ($session) = $answer =~ /"session":"([^"]+)"/ or die "a leader without a session: $answer\n";
        last;
    }
    print STDERR "$name: not yet ($status)\n";
    sleep 1;
}
die "$name never led\n" unless $token;

open my $file, '+>>', $ledger or die "cannot open $ledger: $!\n";
flock $file, LOCK_EX or die "cannot lock $ledger: $!\n";
seek $file, 0, SEEK_SET;
for my $line (<$file>) {
    my ($other, $theirs) = split ' ', $line;
    die "$name leads with $token, but $other led with $theirs\n" if $theirs >= $token;
}
print $file "$name $token\n";
close $file;

for (1 .. 2) {
    sleep 1;
    my ($status, $answer) = ask('POST', "$candidate/renew", qq({"session":"$session"}));
    die "$name lost its lead: $answer\n" unless $status == 200 && $answer =~ /"self":"leader"/;
}
ask('DELETE', "$candidate?session=$session", '');
print STDERR "$name led with token $token\n";
