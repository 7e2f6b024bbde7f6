# frozen_string_literal: true

# Launcher of the ruby kinds: owns one action inside a sandbox and answers frames on fd 3.
#
# A frame is u32 length (big endian, of all that follows), u8 kind, 16 bytes of activation id, payload.
# Order of events: Hello out; Init in, Initialized or DeveloperError out; then Run in, Result or
# DeveloperError out, as often as asked. End of file on fd 3 ends the process.
#
# Every run has a process of its own, as in the upstream runtime: the code is parsed once, here, and each
# run loads and calls it in a fresh fork of this process. The fork that shows at initialisation that the
# code can be loaded is not wasted: it waits for the first run.
#
# Started as `ruby --disable=gems -EUTF-8 launcher.rb`: RubyGems would make the time until Hello, which is
# part of every cold start, six times as long. It is loaded when something asks for it.

# RubyGems, loaded when a library is not found without it or when it is named.
module LazyGems
  REQUIRE = Kernel.instance_method(:require)

  # From here on `require` and `gem` are those of RubyGems. False if they already were.
  def self.load
    return false unless Object.autoload?(:Gem)

    Kernel.send(:remove_method, :gem)
    Kernel.send(:define_method, :require, REQUIRE)
    Kernel.send(:private, :require)
    REQUIRE.bind_call(self, "rubygems")
    true
  end

  def self.offer
    Kernel.module_eval do
      def require(name)
        LazyGems::REQUIRE.bind_call(self, name)
      rescue LoadError => error
        raise unless error.path == name && LazyGems.load

        require(name)
      end

      def gem(...)
        LazyGems.load
        gem(...)
      end
      private :require, :gem
    end
    Object.autoload(:Gem, "rubygems")
  end
end

# The launcher. Nothing of it is at the top level, where functions define theirs.
module Launcher
  HEADER_LENGTH = 21
  MAX_PAYLOAD = 256 * 1024 * 1024
  HELLO, INIT, INITIALIZED, RUN, RESULT, DEVELOPER_ERROR = *1..6
  NO_ACTIVATION = ("\0" * 16).b.freeze

  NO_CODE = "Missing main/no code to execute."
  TWICE = "Cannot initialize the action more than once."
  BAD_REQUEST = "Invalid Parameters: failed to handle the request"
  NOT_PARSED = "Invalid Ruby Code: failed to parse the input code"
  NO_MAIN_FILE = "Invalid Ruby Code: zipped actions must contain main.rb at the root."
  NOT_CHECKED = "Invalid Ruby Code: method checking failed / "
  NO_VENDOR_CACHE = "Invalid Binary: vendor/cache folder is not found. " \
                    "Please make sure you have finished $bundle package successfully."
  NOT_BUNDLED = "Invalid Binary: the gems of the Gemfile could not be installed from vendor/cache. See logs for details."
  NO_ACTION = "Invalid Action: no action file found"
  BAD_RESULT = "The action did not return a dictionary or array."
  RAISED = "An error occurred running the action."

  # The code cannot become an action; the message is for the caller.
  class BadCode < StandardError; end

  # What the upstream runtime says of a run that left no result, closing brace included.
  def self.not_successful(output)
    "Invalid Action: the execution was not successful. / #{output}}"
  end

  def self.log(text)
    STDERR.write("#{text.chomp}\n")
  end

  # Says on stderr what the interpreter says of an exception, without the frames of this file.
  def self.log_exception(error)
    own = ->(line) { line.start_with?("#{__FILE__}:", "<internal:") }
    cause = error
    while cause
      cause.set_backtrace(cause.backtrace.reject(&own)) if cause.backtrace
      cause = cause.cause
    end
    log(error.full_message(highlight: false, order: :top))
  end

  def self.to_json(value)
    require "json"
    value.to_json
  end

  # The object that a frame holds; raises JSON::ParserError where it holds none.
  def self.parse_object(payload)
    require "json"
    message = JSON.parse(payload.force_encoding(Encoding::UTF_8))
    raise JSON::ParserError, "not an object" unless message.is_a?(Hash)

    message
  end

  # ---- environment ------------------------------------------------------------------------------

  ACTIVATION_NAMES = %w[NAMESPACE ACTION_NAME ACTION_VERSION ACTIVATION_ID TRANSACTION_ID DEADLINE API_KEY]
                     .map { |name| "__OW_#{name}" }.freeze

  def self.set_environment(name, value)
    ENV[name] = value.is_a?(String) || value.nil? ? value.to_s : to_json(value)
  rescue ArgumentError, SystemCallError
    nil # a name or value that no environment can hold
  end

  # Makes `__OW_*` say what this run says.
  def self.refresh_activation_environment(message)
    ACTIVATION_NAMES.each { |name| ENV.delete(name) }
    message.each do |key, value|
      set_environment("__OW_#{key.upcase}", value) if key != "value" && value.is_a?(String)
    end
  end

  # ---- channel ----------------------------------------------------------------------------------

  # Our end of the socket to the platform.
  class Channel
    def initialize
      @socket = IO.for_fd(3, "r+b", autoclose: true)
      @socket.close_on_exec = true
      @socket.sync = true
    end

    # The next [kind, activation id, payload], or nil at the end of the channel.
    def read
      header = @socket.read(HEADER_LENGTH)
      return if header.nil? || header.bytesize < HEADER_LENGTH

      length, kind, activation_id = header.unpack("NCa16")
      size = length - (HEADER_LENGTH - 4)
      unless size.between?(0, MAX_PAYLOAD)
        Launcher.give_up("a frame announces #{size} bytes of payload, allowed are 0 to #{MAX_PAYLOAD}")
      end
      payload = @socket.read(size)
      [kind, activation_id, payload] if payload && payload.bytesize == size
    end

    def write(kind, activation_id, text)
      bytes = text.b
      @socket.write([HEADER_LENGTH - 4 + bytes.bytesize, kind].pack("NC"), activation_id, bytes)
    end

    def close
      @socket.close
    end
  end

  # The peer broke the protocol: nothing that follows on the channel could be trusted.
  def self.give_up(why)
    log("launcher: #{why}")
    exit!(70)
  end

  # ---- loading ----------------------------------------------------------------------------------

  # An action's code: where it is, parsed.
  class Code
    attr_reader :main

    # Raises BadCode; what the developer needs to know besides is in the log then.
    def initialize(folder, binary, main)
      Dir.chdir(folder)
      @main = main
      install_gems(folder) if binary && File.file?("Gemfile")
      @program = parse(folder, binary)
    end

    # Runs the code and gives the function of the action.
    def load
      @program.eval
      TOPLEVEL_BINDING.receiver.method(@main)
    end

    private

    def parse(folder, binary)
      source = binary ? "main.rb" : "exec"
      raise BadCode, NO_MAIN_FILE unless File.file?(source)

      path = File.join(folder, "main.rb")
      RubyVM::InstructionSequence.compile(File.read(source, encoding: Encoding::UTF_8), path, path)
    rescue SyntaxError, EncodingError, ArgumentError => error
      Launcher.log("#{NOT_PARSED}\n#{error.message}")
      raise BadCode, NOT_PARSED
    rescue BadCode => error
      Launcher.log(error.message)
      raise
    end

    def install_gems(folder)
      unless File.directory?("vendor/cache")
        Launcher.log(NO_VENDOR_CACHE)
        raise BadCode, NO_VENDOR_CACHE
      end
      require "rbconfig"
      ENV["BUNDLE_GEMFILE"] = File.join(folder, "Gemfile")
      ENV["BUNDLE_PATH"] = File.join(folder, "vendor/bundle")
      said = IO.popen([RbConfig.ruby, "-S", "bundle", "install", "--local", err: %i[child out]], &:read)
      raise LoadError, said unless $?.success?

      LazyGems.load
      require "bundler/setup"
    rescue ScriptError, StandardError => error
      raise if error.is_a?(BadCode)

      Launcher.log("#{NOT_BUNDLED}\n#{error.message}")
      raise BadCode, NOT_BUNDLED
    end
  end

  # ---- workers ----------------------------------------------------------------------------------

  # A process that loads the code, waits for a run, answers it, and ends.
  class Worker
    LOADED = "L"
    ANSWERED = "A"
    FAILED = "F"

    def initialize(channel, code)
      inbox, @orders = IO.pipe(binmode: true)
      @replies, outbox = IO.pipe(binmode: true)
      @pid = Process.fork do
        [channel, @orders, @replies].each(&:close)
        Life.new(inbox, outbox).live(code)
      end
      [inbox, outbox].each(&:close)
    end

    # What the worker has to say next, as [tag, text]; nil when it ended instead.
    def next_word
      tag, length = @replies.read(5)&.unpack("aN")
      return unless length

      text = @replies.read(length)
      [tag, text.force_encoding(Encoding::UTF_8)] if text&.bytesize == length
    end

    def order(payload)
      @orders.write([payload.bytesize].pack("N"), payload)
    rescue Errno::EPIPE
      nil # it ended: that is what it will be found to have said
    end

    # Waits for its end.
    def bury
      [@orders, @replies].each(&:close)
      Process.wait(@pid)
    end
  end

  # What happens inside a worker. Its last word is said after everything else that the code wants to do at
  # the end of a process, so that all it prints belongs to the run.
  class Life
    def initialize(inbox, outbox)
      @inbox = inbox
      @outbox = outbox
      @last_word = nil
      at_exit do
        [$stdout, $stderr, STDOUT, STDERR].each { |stream| stream.flush rescue nil }
        say(*@last_word) if @last_word
      end
    end

    def live(code)
      function = guard(:message.to_proc) { code.load }
      return unless function

      say(Worker::LOADED, "")
      length = @inbox.read(4)&.unpack1("N")
      # The platform has no run for this action any more.
      exit!(0) unless length

      run(function, @inbox.read(length))
    end

    private

    def run(function, payload)
      message = Launcher.parse_object(payload)
    rescue StandardError
      @last_word = [Worker::FAILED, BAD_REQUEST]
    else
      Launcher.refresh_activation_environment(message)
      answered = guard(->(_) { Launcher.not_successful(RAISED) }) { answer(function, message["value"]) }
      @last_word = answered if answered
    end

    def answer(function, value)
      result = function.call(value.nil? ? {} : value)
      return [Worker::FAILED, BAD_RESULT] unless result.is_a?(Hash) || result.is_a?(Array)

      [Worker::ANSWERED, result.to_json]
    end

    # Gives what the block gives; an exception is logged, and the worker's last word is what `reason` makes of it.
    def guard(reason)
      yield
    rescue SystemExit, SignalException
      raise
    rescue Exception => error # rubocop:disable Lint/RescueException
      Launcher.log_exception(error)
      @last_word = [Worker::FAILED, reason.call(error)]
      nil
    end

    def say(tag, text)
      bytes = text.b
      @outbox.write([tag, bytes.bytesize].pack("aN"), bytes)
    end
  end

  # ---- answering --------------------------------------------------------------------------------

  # The action and its life.
  class Action
    def initialize(channel)
      @channel = channel
      @code = nil
      @waiting = nil
    end

    def receive(kind, activation_id, payload)
      case kind
      when INIT then reply(activation_id, INITIALIZED) { init(payload) }
      when RUN then reply(activation_id, RESULT) { run(payload) }
      else Launcher.give_up("frames of kind #{kind} are not for a launcher")
      end
    end

    private

    def reply(activation_id, kind)
      @channel.write(kind, activation_id, yield)
    rescue BadCode => error
      @channel.write(DEVELOPER_ERROR, activation_id, Launcher.to_json({ error: error.message.scrub }))
    end

    def init(payload)
      if @code
        Launcher.log(TWICE)
        raise BadCode, TWICE
      end
      action = begin
        Launcher.parse_object(payload)["value"] || {}
      rescue StandardError
        raise BadCode, BAD_REQUEST
      end
      folder, binary, main = action.fetch("path", "/action"), action["binary"], action.fetch("main", "main")
      raise BadCode, NO_CODE if main.to_s.empty? || !(binary || File.size?(File.join(folder, "exec")))

      (action["env"] || {}).each { |name, value| Launcher.set_environment(name, value) }
      code = Code.new(folder, binary, main)
      @waiting = start(code) { |why| "#{NOT_CHECKED}#{why || 'the process ended while it loaded the code'}" }
      @code = code
      ""
    end

    def run(payload)
      raise BadCode, NO_ACTION unless @code

      worker = @waiting || renew(payload)
      @waiting = nil
      worker.order(payload)
      word = worker.next_word
      worker.bury
      tag, text = word
      raise BadCode, text || Launcher.not_successful("") unless tag == Worker::ANSWERED

      text
    end

    # A worker for another run. It loads the code under the environment of that run.
    def renew(payload)
      Launcher.refresh_activation_environment(Launcher.parse_object(payload.dup))
      start(@code) { |why| Launcher.not_successful(why && RAISED) }
    rescue JSON::ParserError
      raise BadCode, BAD_REQUEST
    end

    # A worker that has loaded the code. The block words the error from what the code raised, if it did.
    def start(code)
      worker = Worker.new(@channel, code)
      tag, text = worker.next_word
      return worker if tag == Worker::LOADED

      worker.bury
      why = yield text
      Launcher.log(why)
      raise BadCode, why
    end
  end

  def self.main
    [STDOUT, STDERR].each { |stream| stream.sync = true }
    $PROGRAM_NAME = "ruby"
    LazyGems.offer
    channel = Channel.new
    channel.write(HELLO, NO_ACTIVATION, '{"protocol":1,"concurrent":false}')
    # Needed for the first Init; loaded while the platform prepares it.
    require "json/ext"
    action = Action.new(channel)
    while (frame = channel.read)
      action.receive(*frame)
    end
    exit!(0)
  rescue Errno::EPIPE, Errno::ECONNRESET
    exit!(0) # the platform is gone: the same as the end of the channel
  end
end

Launcher.main
