#!/usr/bin/perl
# An example of an application that knows nothing of Quorate: it answers POST with the text of the body in capitals. The
# worker agent beside it posts each payload; a 2xx answer completes the job with the body as its result.
use strict;
use warnings;
use IO::Socket::INET;

$SIG{TERM} = sub { exit 0 };
my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 8080, Listen => 16, ReuseAddr => 1)
    or die "cannot listen on 127.0.0.1:8080: $!";
while (my $client = $listen->accept) {
    $client->autoflush(1);
    # Connections are few and short: one after the other will do for an example.
    local $SIG{ALRM} = sub { die "slow" };
    eval {
        alarm 5;
        my $length = 0;
        while (defined(my $line = <$client>)) {
            $line =~ s/\r?\n$//;
            last if $line eq '';
            $length = $1 if $line =~ /^content-length: *(\d{1,6})$/i;
        }
        my $body = '';
        read($client, $body, $length) if $length;
        my ($status, $answer) = $body =~ /"text"\s*:\s*"([^"]*)"/ ? ('200 OK', uc $1) : ('422 Unprocessable Content', 'no text');
        printf $client "HTTP/1.1 %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s",
            $status, length $answer, $answer;
        alarm 0;
    };
    close $client;
}
