<?php
/**
 * Launcher of the php kinds: owns one action inside a sandbox and answers frames on fd 3.
 *
 * A frame is u32 length (big endian, of all that follows), u8 kind, 16 bytes of activation id, payload.
 * Order of events: Hello out; Init in, Initialized or DeveloperError out; then Run in, Result or
 * DeveloperError out, as often as asked. End of file on fd 3 ends the process.
 *
 * The settings that it needs are given on the command line by the manifest. The action's file is required at the
 * end of this one, in the global scope, where its top-level variables belong.
 */

declare(strict_types=1);

namespace Chasen;

const HEADER_LENGTH = 21;
const MAX_PAYLOAD = 256 * 1024 * 1024;
const HELLO = 1;
const INIT = 2;
const INITIALIZED = 3;
const RUN = 4;
const RESULT = 5;
const DEVELOPER_ERROR = 6;

const NO_CODE = 'Missing main/no code to execute.';
const TWICE = 'Cannot initialize the action more than once.';
const NO_ACTION = 'no action defined yet';
const BAD_RESULT = 'The action did not return a dictionary or array.';
const EXITED = 'command exited';

/** Whether an error of this type ends the interpreter. */
const FATAL = E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR;

/** Environment names of an activation; those that a run does not bring are gone during it. */
const ACTIVATION_NAMES = [
    '__OW_NAMESPACE', '__OW_ACTION_NAME', '__OW_ACTION_VERSION', '__OW_ACTIVATION_ID', '__OW_TRANSACTION_ID',
    '__OW_DEADLINE', '__OW_API_KEY',
];

/** Packages of the distribution that stand for those of the upstream image, by what their classes begin with. */
const DISTRIBUTED = [
    'GuzzleHttp\\' => '/usr/share/php/GuzzleHttp/autoload.php',
    'Ramsey\\Uuid\\' => '/usr/share/php/Ramsey/Uuid/autoload.php',
];

/** The code cannot become an action, or a request is none; the message is for the caller. */
final class Refusal extends \Exception
{
}

/** Our end of the socket to the platform. Two handles: what one of them read ahead, writing would discard. */
final class Channel
{
    /** @var resource */
    private $in;
    /** @var resource */
    private $out;

    public function __construct()
    {
        $this->in = fopen('php://fd/3', 'rb');
        $this->out = fopen('php://fd/3', 'wb');
        stream_set_write_buffer($this->out, 0);
    }

    /** The next [kind, activation id, payload]; null at the end of the channel. */
    public function read(): ?array
    {
        $header = $this->exactly(HEADER_LENGTH);
        if ($header === null) {
            return null;
        }
        ['length' => $length, 'kind' => $kind, 'id' => $id] = unpack('Nlength/Ckind/a16id', $header);
        $size = $length - (HEADER_LENGTH - 4);
        if ($size < 0 || $size > MAX_PAYLOAD) {
            self::fail("a frame announces $size bytes of payload, allowed are 0 to " . MAX_PAYLOAD);
        }
        $payload = $this->exactly($size);
        return $payload === null ? null : [$kind, $id, $payload];
    }

    /** Writes one frame; whatever the function printed is in the pipes before. */
    public function write(int $kind, string $id, string $text): void
    {
        while (ob_get_level() > 0 && @ob_end_flush());
        $rest = pack('NCa16', HEADER_LENGTH - 4 + strlen($text), $kind, $id) . $text;
        while ($rest !== '') {
            $written = @fwrite($this->out, $rest);
            if (!$written) {
                end_process(0); // the platform is gone: the same as the end of the channel
            }
            $rest = substr($rest, $written);
        }
    }

    /** The peer broke the protocol: nothing that follows on the channel could be trusted. */
    public static function fail(string $why): never
    {
        log("launcher: $why");
        end_process(70);
    }

    private function exactly(int $size): ?string
    {
        $bytes = $size === 0 ? '' : stream_get_contents($this->in, $size);
        return $bytes === false || strlen($bytes) < $size ? null : $bytes;
    }
}

/** Writes a line to stderr, whatever the function did to its own streams. */
function log(string $text): void
{
    static $stderr = null;
    $stderr ??= fopen('php://stderr', 'wb');
    fwrite($stderr, "$text\n");
}

/** Ends the process without an answer to anybody. */
function end_process(int $status): never
{
    Launcher::$current = null;
    exit($status);
}

/** What the interpreter says of an exception that nobody catches, without the frames of this file. */
function describe(\Throwable $error): string
{
    $own = static fn (string $line) => str_contains($line, __FILE__) || str_ends_with($line, ' {main}');
    $trace = array_filter(explode("\n", $error->getTraceAsString()), static fn ($line) => !$own($line));
    $what = $error instanceof \ParseError ? 'PHP Parse error:  ' : 'PHP Fatal error:  Uncaught ' . $error::class . ': ';
    $text = "$what{$error->getMessage()} in {$error->getFile()} on line {$error->getLine()}";
    $text = implode("\n", [$text, ...array_values($trace)]);
    $cause = $error->getPrevious();
    return $cause === null ? $text : "$text\nCaused by: " . describe($cause);
}

function set_environment(string $name, mixed $value): void
{
    $text = is_string($value) ? $value : ($value === null ? '' : json_encode($value, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE));
    if ($name === '' || strpbrk($name, "=\0") !== false || str_contains($text, "\0")) {
        return; // a name or value that no environment can hold
    }
    putenv("$name=$text");
    $_ENV[$name] = $text;
}

/** Makes `__OW_*` say what this run says. */
function refresh_activation_environment(array $message): void
{
    foreach (ACTIVATION_NAMES as $name) {
        putenv($name);
        unset($_ENV[$name]);
    }
    foreach ($message as $key => $value) {
        if ($key !== 'value' && is_string($value)) {
            set_environment('__OW_' . strtoupper((string) $key), $value);
        }
    }
}

/** The action and its life. */
final class Launcher
{
    /** The one that answers for this process; none when it ends of its own will. */
    public static ?self $current = null;

    private ?string $main = null;
    /** Activation that awaits an answer, and whether it is an initialisation. */
    private ?string $asker = null;
    private bool $loading = false;
    private string $entry = '';

    public function __construct(private readonly Channel $channel)
    {
        self::$current = $this;
        $channel->write(HELLO, str_repeat("\0", 16), '{"protocol":1,"concurrent":false}');
    }

    /** Answers frames until one asks for code to be loaded; gives its path. Ends the process with the channel. */
    public function awaitCode(): string
    {
        while (($frame = $this->channel->read()) !== null) {
            [$kind, $this->asker, $payload] = $frame;
            try {
                if ($kind === INIT) {
                    return $this->prepare(self::parse($payload)['value'] ?? []);
                }
                if ($kind !== RUN) {
                    Channel::fail("frames of kind $kind are not for a launcher");
                }
                $this->answer(RESULT, $this->run(self::parse($payload)));
            } catch (Refusal $refusal) {
                $this->refuse($refusal->getMessage());
            }
        }
        end_process(0);
    }

    /** Ends an initialisation whose code was loaded. */
    public function loaded(): void
    {
        $this->loading = false;
        if (!is_callable($this->entry)) {
            $this->notStarted("the function '{$this->entry}' is not defined");
            return;
        }
        $this->main = $this->entry;
        $this->answer(INITIALIZED, '');
    }

    /** Ends an initialisation whose code threw this. */
    public function notLoaded(\Throwable $error): void
    {
        $this->loading = false;
        $this->notStarted(describe($error));
    }

    /** The process ends while somebody waits for an answer: by an error that nothing catches, or by `exit`. */
    public function ending(): void
    {
        if ($this->asker === null) {
            return;
        }
        $last = error_get_last();
        $fatal = $last !== null && ($last['type'] & FATAL) !== 0;
        $why = $fatal ? "{$last['message']} in {$last['file']} on line {$last['line']}" : EXITED;
        if ($this->loading) {
            $this->refuse("cannot start action: $why");
        } else {
            $this->refuse($fatal ? BAD_RESULT : EXITED);
        }
    }

    private static function parse(string $payload): array
    {
        $message = json_decode($payload, true);
        if (!is_array($message) || !str_starts_with(ltrim($payload), '{')) {
            $why = json_last_error() === JSON_ERROR_NONE ? 'not an object' : json_last_error_msg();
            throw new Refusal("Error unmarshaling request: $why");
        }
        return $message;
    }

    private function prepare(array $action): string
    {
        if ($this->main !== null) {
            log(TWICE);
            throw new Refusal(TWICE);
        }
        $folder = $action['path'] ?? '/action';
        $binary = $action['binary'] ?? false;
        $this->entry = (string) ($action['main'] ?? 'main');
        if ($this->entry === '' || (!$binary && (int) @filesize("$folder/exec") === 0)) {
            throw new Refusal(NO_CODE);
        }
        foreach ($action['env'] ?? [] as $name => $value) {
            set_environment((string) $name, $value);
        }
        chdir($folder);
        if (!$binary) {
            copy('exec', 'index.php');
        } elseif (!is_file('index.php')) {
            $this->notStarted('Zip file does not include index.php', throws: true);
        }
        $this->loading = true;
        $this->offerPackages();
        return "$folder/index.php";
    }

    private function offerPackages(): void
    {
        if (is_file('vendor/autoload.php')) {
            try {
                require 'vendor/autoload.php';
            } catch (\Throwable $error) {
                $this->loading = false;
                $this->notStarted(describe($error), throws: true);
            }
            return;
        }
        spl_autoload_register(static function (string $class): void {
            foreach (DISTRIBUTED as $prefix => $autoload) {
                if (str_starts_with($class, $prefix) && is_file($autoload)) {
                    require_once $autoload;
                    // The package's own loader is asked after this one.
                }
            }
        });
    }

    private function run(array $message): string
    {
        if ($this->main === null) {
            throw new Refusal(NO_ACTION);
        }
        refresh_activation_environment($message);
        try {
            $result = ($this->main)($message['value'] ?? []);
            return json_encode(self::dictionary($result), JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES
                | JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION);
        } catch (Refusal $refusal) {
            throw $refusal;
        } catch (\Throwable $error) {
            log(describe($error));
            throw new Refusal(BAD_RESULT);
        }
    }

    /** A result as what becomes a JSON object: lists too. */
    private static function dictionary(mixed $result): object
    {
        if (is_object($result) && method_exists($result, 'getArrayCopy')) {
            $result = $result->getArrayCopy();
        }
        if ($result === null || is_array($result)) {
            return (object) $result;
        }
        if ($result instanceof \stdClass) {
            return $result;
        }
        $shown = is_scalar($result) ? (string) $result : print_r($result, true);
        log('Result must be an array but has type "' . gettype($result) . "\": $shown");
        echo BAD_RESULT, "\n";
        throw new Refusal(BAD_RESULT);
    }

    /** The code cannot be started: said to the log and the caller. */
    private function notStarted(string $why, bool $throws = false): void
    {
        log($why);
        $text = 'cannot start action: ' . explode("\n", $why)[0];
        if ($throws) {
            throw new Refusal($text);
        }
        $this->refuse($text);
    }

    private function refuse(string $error): void
    {
        $text = json_encode(['error' => $error], JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE);
        $this->answer(DEVELOPER_ERROR, $text);
    }

    private function answer(int $kind, string $text): void
    {
        $asker = $this->asker;
        $this->asker = null;
        $this->channel->write($kind, $asker, $text);
    }
}

register_shutdown_function(static fn () => Launcher::$current?->ending());
unset($argv, $argc);
new Launcher(new Channel());
while (true) {
    try {
        require Launcher::$current->awaitCode();
    } catch (\Throwable $__ow_error) {
        Launcher::$current->notLoaded($__ow_error);
        continue;
    }
    Launcher::$current->loaded();
}
