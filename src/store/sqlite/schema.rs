//! The tables as Diesel knows them. They follow `migrations/`; a test holds the columns of both against each other.

diesel::table! {
    accounts (id) {
        id -> BigInt,
        name -> Text,
        external_id -> Nullable<Text>,
        is_enabled -> Bool,
        created_at -> BigInt,
        defaults -> Text,
        max_pending -> Nullable<BigInt>,
        max_in_flight -> Nullable<BigInt>,
        submits_per_day -> Nullable<BigInt>,
    }
}

diesel::table! {
    contents (id) {
        id -> BigInt,
        task_id -> Text,
        account_id -> BigInt,
        version -> BigInt,
        title -> Text,
        summary -> Text,
        images -> Text,
        cover_image -> Nullable<Text>,
        word_count -> BigInt,
        quality_score -> Nullable<Double>,
        category -> Nullable<Text>,
        review_status -> Text,
        review_reason -> Nullable<Text>,
        reviewed_by -> Nullable<Text>,
        publish_status -> Text,
        content_hash -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
        content -> Text,
        html_content -> Text,
        findings -> Text,
        edited_by -> Nullable<Text>,
        rewritten_by -> Nullable<Text>,
    }
}

diesel::table! {
    tasks (seq) {
        seq -> BigInt,
        id -> Text,
        account_id -> BigInt,
        generator -> Text,
        state -> Text,
        priority -> BigInt,
        auto_approve -> Bool,
        attempt -> BigInt,
        retry_count -> BigInt,
        max_retries -> BigInt,
        time_limit_s -> BigInt,
        created_at -> BigInt,
        queued_at -> BigInt,
        submitted_at -> Nullable<BigInt>,
        started_at -> Nullable<BigInt>,
        completed_at -> Nullable<BigInt>,
        wake_at -> Nullable<BigInt>,
        updated_at -> BigInt,
        content_id -> Nullable<BigInt>,
        key -> Nullable<Text>,
        submitted_by -> Text,
        rewrites -> Nullable<Text>,
        progress -> Nullable<Text>,
        reason -> Nullable<Text>,
        error -> Nullable<Text>,
        category -> Nullable<Text>,
        tone -> Nullable<Text>,
        keywords -> Text,
        topic -> Text,
        requirements -> Nullable<Text>,
        restored_at -> Nullable<BigInt>,
        not_before -> Nullable<BigInt>,
    }
}

diesel::table! {
    attempts (task_id, number) {
        task_id -> Text,
        number -> BigInt,
        generator -> Text,
        key -> Text,
        state -> Text,
        external_ref -> Nullable<Text>,
        generator_state -> Nullable<Text>,
        intended_at -> BigInt,
        accepted_at -> Nullable<BigInt>,
        ended_at -> Nullable<BigInt>,
        deadline_at -> Nullable<BigInt>,
        deadline_boot_id -> Nullable<Text>,
        deadline_boot_ms -> Nullable<BigInt>,
        sends -> BigInt,
        quiet_since -> Nullable<BigInt>,
        empty_sweeps -> BigInt,
        missing -> BigInt,
        bad_fetches -> BigInt,
        bad_answers -> BigInt,
        unchanged_since -> Nullable<BigInt>,
        is_ready -> Bool,
        is_resend_due -> Bool,
        is_cancel_refused -> Bool,
        polls -> BigInt,
        watch_until -> Nullable<BigInt>,
        vars -> Text,
        error -> Nullable<Text>,
        raw_output -> Nullable<Text>,
        free_ends -> BigInt,
        unavailable_submits -> BigInt,
        extensions -> BigInt,
    }
}

diesel::table! {
    events (id) {
        id -> BigInt,
        task_id -> Text,
        at -> BigInt,
        event -> Text,
        from_state -> Nullable<Text>,
        to_state -> Text,
        attempt -> BigInt,
        attempt_from -> Nullable<Text>,
        attempt_to -> Nullable<Text>,
        why -> Nullable<Text>,
        who -> Text,
    }
}

diesel::table! {
    publish_pool (id) {
        id -> BigInt,
        content_id -> BigInt,
        account_id -> BigInt,
        priority -> BigInt,
        scheduled_at -> BigInt,
        status -> Text,
        retry_count -> BigInt,
        last_error -> Nullable<Text>,
        published_at -> Nullable<BigInt>,
        created_at -> BigInt,
        held_reason -> Nullable<Text>,
        fence -> BigInt,
        wake_at -> Nullable<BigInt>,
        due_by -> Text,
        may_be_out -> Bool,
    }
}

diesel::table! {
    publications (content_id) {
        content_id -> BigInt,
        published_at -> BigInt,
        published_by -> Text,
        url -> Nullable<Text>,
        reference -> Nullable<Text>,
    }
}

diesel::table! {
    handouts (pool_id, fence) {
        pool_id -> BigInt,
        fence -> BigInt,
        key -> Text,
        holder -> Text,
        is_publisher -> Bool,
        request -> Nullable<Text>,
        handed_out_at -> BigInt,
        sends -> BigInt,
        doubted_at -> Nullable<BigInt>,
        is_lost -> Bool,
        quiet_since -> Nullable<BigInt>,
        absences -> BigInt,
        ended_at -> Nullable<BigInt>,
        outcome -> Nullable<Text>,
        error -> Nullable<Text>,
        unavailable_sends -> BigInt,
        may_be_out -> Bool,
    }
}

diesel::table! {
    images (id) {
        id -> BigInt,
        content_id -> BigInt,
        position -> BigInt,
        url -> Text,
        state -> Text,
        tries -> BigInt,
        wake_at -> Nullable<BigInt>,
        media_type -> Nullable<Text>,
        file -> Nullable<Text>,
        bytes -> Nullable<BigInt>,
        error -> Nullable<Text>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    settings (name) {
        name -> Text,
        value -> Text,
    }
}

diesel::table! {
    submit_keys (key) {
        key -> Text,
        task_id -> Text,
        digest -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    state_counts (state) {
        state -> Text,
        count -> BigInt,
    }
}

diesel::table! {
    lanes (generator, account_id) {
        generator -> Text,
        account_id -> BigInt,
        pending -> BigInt,
        kept -> BigInt,
        retries -> BigInt,
        completed -> BigInt,
        failed -> BigInt,
        timed_out -> BigInt,
        cancelled -> BigInt,
        timed -> BigInt,
        duration_ms -> BigInt,
        wait_ms -> BigInt,
        words -> BigInt,
    }
}

diesel::table! {
    schedules (id) {
        id -> BigInt,
        name -> Text,
        timing -> Text,
        accounts -> Text,
        topics_each -> BigInt,
        params -> Text,
        misfire -> Text,
        cursor -> BigInt,
        next_due_at -> Nullable<BigInt>,
        paused_why -> Nullable<Text>,
        created_by -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
        source -> Text,
    }
}

diesel::table! {
    schedule_fires (id) {
        id -> BigInt,
        schedule_id -> BigInt,
        key -> Text,
        due_at -> BigInt,
        kind -> Text,
        state -> Text,
        missed -> BigInt,
        tries -> BigInt,
        wake_at -> Nullable<BigInt>,
        began_at -> BigInt,
        ended_at -> Nullable<BigInt>,
        why -> Nullable<Text>,
        who -> Text,
        tasks -> Text,
        topics -> Text,
    }
}

diesel::table! {
    schedule_taken (schedule_id, digest) {
        schedule_id -> BigInt,
        digest -> Text,
    }
}

diesel::table! {
    alarms (name) {
        name -> Text,
        rule -> Text,
        subject -> Text,
        state -> Text,
        severity -> Text,
        since -> BigInt,
        good_since -> Nullable<BigInt>,
        told_at -> Nullable<BigInt>,
        told_severity -> Nullable<Text>,
        is_told -> Bool,
        acknowledged_by -> Nullable<Text>,
        value -> Double,
        threshold -> Double,
        text -> Text,
    }
}

diesel::table! {
    notices (seq) {
        seq -> BigInt,
        id -> Text,
        kind -> Text,
        alarm -> Text,
        rule -> Nullable<Text>,
        subject -> Text,
        severity -> Text,
        text -> Text,
        value -> Double,
        threshold -> Double,
        since -> BigInt,
        at -> BigInt,
    }
}

diesel::table! {
    deliveries (id) {
        id -> BigInt,
        notice_id -> Text,
        hook -> Text,
        state -> Text,
        tries -> BigInt,
        due_at -> BigInt,
        last_error -> Nullable<Text>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(notices, deliveries);
diesel::allow_tables_to_appear_in_same_query!(tasks, attempts, contents);
diesel::allow_tables_to_appear_in_same_query!(publish_pool, handouts, contents);
